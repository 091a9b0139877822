"""One kept-alive HTTP connection whose answers have a deadline.

`http.client` waits for each single byte as long as it is told to, so a server that sends one byte every few seconds,
or header after header, could hold a thread for ever. Here every read of a socket also ends at a deadline: that of the
answer's head, then whatever `Answer.allow` says.
"""

from __future__ import annotations

import http.client
import io
import socket
import ssl
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import cast

from instar.version import VERSION
from instar.weights.sources.places import Url
from instar.weights.sources.ports import Limits

SAID = {"Accept": "*/*", "User-Agent": f"instar/{VERSION}"}
DRAIN_BYTES = 256 * 1024  # left of an answer, are read to keep the connection; for more, a new one is cheaper


def unopened(url: Url, limits: Limits, tls: ssl.SSLContext | None) -> http.client.HTTPConnection:
    """What will be a connection to the server of a URL. The port is always given: a host's last `:` may be IPv6's."""
    if tls is None:
        port = http.client.HTTP_PORT if url.port is None else url.port
        return http.client.HTTPConnection(url.host, port, timeout=limits.connect_s)
    port = http.client.HTTPS_PORT if url.port is None else url.port
    return http.client.HTTPSConnection(url.host, port, timeout=limits.connect_s, context=tls)


def trusting(environ: Mapping[str, str]) -> ssl.SSLContext:
    """What this node trusts: the authorities of its system, or those of the file that `SSL_CERT_FILE` names."""
    return ssl.create_default_context(cafile=environ.get("SSL_CERT_FILE"))


class Answer(http.client.HTTPResponse):
    """An answer; its body is read with `readinto`, straight into the caller's memory."""

    def __init__(
        self, sock: socket.socket, debuglevel: int = 0, method: str | None = None, url: str | None = None
    ) -> None:
        super().__init__(sock, debuglevel, method, url)
        # What the standard library opened is a buffer over the socket; only what is below the buffer changes.
        self._timed = _Timed(sock, self.fp.detach())
        self.fp = io.BufferedReader(self._timed)

    def allow(self, seconds: float) -> None:
        """From now on, reads of this answer have this long in all."""
        self._timed.deadline = time.monotonic() + seconds

    @property
    def was_cut_off(self) -> bool:
        """Whether the connection ended inside the head, which `http.client` takes for the end of the head."""
        return self._timed.ended

    @property
    def left_bytes(self) -> int | None:
        """How much of the body has not been read; None where only its end will tell."""
        if self.isclosed():
            return 0
        return None if self.chunked else self.length

    def drain(self) -> bool:
        """Read what is left of the body, if that is little; whether the connection may be used again."""
        if self.will_close:
            return False
        if self.left_bytes is None or self.left_bytes > DRAIN_BYTES:
            return False
        scratch = bytearray(DRAIN_BYTES)
        while not self.isclosed():
            if not self.readinto(scratch) and not self.isclosed():
                return False
        return True


class _Timed(io.RawIOBase):
    """The bytes of a socket, until a deadline."""

    def __init__(self, sock: socket.socket, raw: io.RawIOBase) -> None:
        super().__init__()
        self._sock = sock
        self._raw = raw
        self._stall_s = sock.gettimeout() or 0.0
        self.ended = False
        self.deadline = time.monotonic() + self._stall_s

    def readable(self) -> bool:
        return True

    def readinto(self, into: memoryview) -> int | None:  # type: ignore[override]  # BufferedReader gives a memoryview
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("too slow")
        if left < self._stall_s:
            self._sock.settimeout(left)
        try:
            got = self._raw.readinto(into)
            self.ended = got == 0
            return got
        finally:
            if left < self._stall_s and self._sock.fileno() >= 0:
                self._sock.settimeout(self._stall_s)

    def close(self) -> None:
        self._raw.close()
        super().close()


class Connection:
    """To one server. Made and used by one thread; `break_off` may come from another."""

    def __init__(self, url: Url, limits: Limits, tls: ssl.SSLContext | None) -> None:
        self.key = (url.scheme, url.host, url.port)
        self._limits = limits
        self._http = unopened(url, limits, tls)
        self._http.response_class = Answer
        self._socket: socket.socket | None = None  # http.client forgets it where an answer ends the connection
        self._last: Answer | None = None

    def ask(self, url: Url, headers: Mapping[str, str]) -> Answer:
        """GET. Raises what sockets, TLS and `http.client` raise."""
        if not self.ready():
            self.close()
        kept = self._http.sock is not None
        try:
            return self._ask(url, headers)
        except (http.client.RemoteDisconnected, ConnectionResetError, BrokenPipeError):
            self.close()
            if not kept:
                raise
        # The server had closed the connection meanwhile, which is no failure of this request.
        return self._ask(url, headers)

    def ready(self) -> bool:
        """Whether the connection is open and nothing of an earlier answer is left in it."""
        if self._http.sock is None:
            return False
        if self._last is None:
            return True
        self._last.allow(self._limits.stall_s)
        with suppress(OSError, http.client.HTTPException):
            return self._last.drain()
        return False

    def break_off(self) -> None:
        """Make a read or write that is under way end; any thread may."""
        if self._socket is not None:
            with suppress(OSError):
                # Not SSLSocket's: it would drop the keys under a thread that is reading.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            if self._last is not None:
                self._last.close()
        self._last = None
        self._socket = None
        with suppress(OSError):
            self._http.close()

    def _ask(self, url: Url, headers: Mapping[str, str]) -> Answer:
        if self._http.sock is None:
            self._http.connect()
            self._socket = cast(socket.socket, self._http.sock)
            self._socket.settimeout(self._limits.stall_s)
        self._http.request("GET", url.target, headers={"Accept-Encoding": "identity", **SAID, **headers})
        self._last = cast(Answer, self._http.getresponse())
        if self._last.was_cut_off:
            raise ConnectionResetError("the connection ended inside the head of an answer")
        return self._last
