"""Weights on an HTTP server: ranges over kept-alive connections, or everything in order where it knows no ranges.

The rule: every answer is of the same content as the first one (ETag, date and size, as far as the server says), or
the transfer ends. Redirects are followed, never from TLS to none, and each host is given only its own credentials.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from urllib.parse import urljoin

from instar.errors import SourceError, TransientError
from instar.weights.sources import answers, connections, credentials, places
from instar.weights.sources.connections import Answer, Connection
from instar.weights.sources.places import Url
from instar.weights.sources.ports import Limits, check_size, failed, refused
from instar.weights.sources.turns import Turns

MAX_REDIRECTS = 5
PIECE_BYTES = 256 * 1024  # of what is read to be thrown away, or of unknown length


class HttpOrigin:
    """A URL, where it leads, and which content it had first."""

    def __init__(
        self, url: Url, *, nbytes: int | None, environ: Mapping[str, str], limits: Limits | None = None
    ) -> None:
        self.location = url.shown
        self.in_order = False
        self.nbytes: int | None = None
        self.wanted = nbytes
        self.limits = limits or Limits()
        self._url = url
        self._environ = environ
        self._lock = threading.Lock()
        self._target = url  # where redirects led last
        self._version: answers.Version | None = None
        self._authorizations: dict[str, str | None] = {}
        self._tls: ssl.SSLContext | None = None

    def reader(self) -> HttpReader:
        return HttpReader(self)

    @property
    def target(self) -> Url:
        """Where to ask: not every request has to be redirected anew."""
        return self._target

    def forget_target(self) -> bool:
        """Ask at the URL itself again, for redirects may be good for a while only; False if that is what was done."""
        with self._lock:
            was, self._target = self._target, self._url
            return was != self._url

    def redirected(self, url: Url, to: str) -> Url:
        """Where an answer at `url` leads. Raises `SourceError` for a place that is not followed."""
        try:
            target = places.url(urljoin(url.text, to))
        except (SourceError, ValueError) as error:
            raise SourceError(f"it is redirected to what is not followed: {error}") from None
        if target.scheme not in ("http", "https") or (url.scheme == "https" and target.scheme != "https"):
            raise SourceError(f"it is redirected from {url.scheme} to {target.scheme}, which is not followed")
        return target

    def settled(self, url: Url, body: answers.Body) -> None:
        """Remember where the bytes were found. Raises `SourceError` if they are of another content than the first."""
        with self._lock:
            if self._version is None:
                self.nbytes = body.version.nbytes
                if self.nbytes is not None:
                    check_size(self.location, self.nbytes, self.wanted)
                self._version = body.version
            elif self._version.differs(body.version):
                raise refused(
                    self.location,
                    "the file was changed on the server while it was read; start again once it is whole",
                )
            self._target = url
            self.in_order = self.in_order or body.in_order

    def headers(self, url: Url, asked: tuple[int, int] | None) -> dict[str, str]:
        """Of a request for the bytes [begin, end). Raises `SourceError` for a netrc that cannot be read."""
        headers = {}
        with self._lock:
            if url.host not in self._authorizations:
                self._authorizations[url.host] = credentials.authorization(self._environ, url.host)
            authorization = self._authorizations[url.host]
        if authorization is not None:
            headers["Authorization"] = authorization
        if asked is not None:
            headers["Range"] = f"bytes={asked[0]}-{asked[1] - 1}"
            if self._version is not None and self._version.strong is not None:
                headers["If-Range"] = self._version.strong
        return headers

    def connection(self, url: Url) -> Connection:
        return Connection(url, self.limits, self._context() if url.scheme == "https" else None)

    def _context(self) -> ssl.SSLContext:
        with self._lock:
            if self._tls is None:
                # Reading the authorities' certificates takes some milliseconds: once a transfer.
                self._tls = connections.trusting(self._environ)
            return self._tls


class HttpReader:
    """One connection. What is sought next to what was read goes on in the same answer if that has it."""

    def __init__(self, origin: HttpOrigin) -> None:
        self._origin = origin
        self._connection: Connection | None = None
        self._answer: Answer | None = None
        self._position = self._end = 0  # of what was sought
        self._body_end: int | None = 0  # of what the answer has
        self._turns = Turns(break_off=self._break_off, release=self._release)

    def seek(self, begin: int, nbytes: int) -> None:
        with self._turns, self._border():
            if self._answer is not None and self._within(begin):
                self._skip(begin - self._position)
            else:
                self._open(begin, begin + nbytes)
            self._end = begin + nbytes

    def read(self, into: memoryview) -> None:
        with self._turns, self._border():
            assert self._position + len(into) <= self._end, "only what was sought is read"
            if self._answer is not None:
                self._answer.allow(self._origin.limits.read_s(len(into)))
            while into:
                got = self._read_some(into)
                into = into[got:]
            if self._position == self._origin.wanted and self._body_end is None:
                self._expect_the_end()

    def whole(self, limit_bytes: int) -> bytes:
        """All there is."""
        with self._turns, self._border():
            answer = self._request(None)
            data, piece = bytearray(), memoryview(bytearray(PIECE_BYTES))
            answer.allow(self._origin.limits.read_s(limit_bytes))
            while got := answer.readinto(piece):
                data += piece[:got]
                if len(data) > limit_bytes:
                    raise SourceError(f"it has more than {limit_bytes} bytes")
            if self._body_end is not None and len(data) < self._body_end:
                raise TransientError(f"the connection ended after {len(data)} of {self._body_end} bytes")
            return bytes(data)

    def close(self) -> None:
        self._turns.end()

    def _within(self, begin: int) -> bool:
        """Whether the open answer is the cheapest way to the byte `begin`."""
        if begin < self._position:
            return False
        if self._origin.in_order:
            return True
        return self._body_end is not None and begin == self._position < self._body_end

    def _open(self, begin: int, end: int) -> None:
        """Ask for [begin, end), and read up to there if the server sends everything."""
        self._request((begin, end))
        self._skip(begin - self._position)

    def _skip(self, nbytes: int) -> None:
        scratch = memoryview(bytearray(min(nbytes, PIECE_BYTES)))
        while nbytes:
            assert self._answer is not None
            self._answer.allow(self._origin.limits.read_s(len(scratch)))
            nbytes -= self._take(scratch[:nbytes])

    def _read_some(self, into: memoryview) -> int:
        if self._answer is None or self._position == self._body_end:
            # A server may send less than the range that it was asked for.
            self._open(self._position, self._end)
            assert self._answer is not None
            self._answer.allow(self._origin.limits.read_s(len(into)))
        return self._take(into)

    def _take(self, into: memoryview) -> int:
        assert self._answer is not None
        if self._body_end is not None:
            into = into[: self._body_end - self._position]
        got = self._answer.readinto(into)
        if not got:
            raise self._ended_early()
        self._position += got
        return got

    def _ended_early(self) -> SourceError:
        assert self._answer is not None
        if self._answer.chunked:  # with a last chunk, so it was meant
            nbytes = self._origin.wanted
            return SourceError(
                f"it has {self._position} bytes, fewer than the {nbytes} that were packed; it was cut short"
            )
        return TransientError(f"the connection ended after {self._position} bytes")

    def _expect_the_end(self) -> None:
        assert self._answer is not None
        if self._answer.readinto(bytearray(1)):
            raise SourceError(f"it has more than the {self._origin.wanted} bytes that were packed; it was changed")

    def _request(self, asked: tuple[int, int] | None) -> Answer:
        """Ask, follow redirects, and make the answer the open one."""
        origin = self._origin
        url, redirects = origin.target, 0
        while True:
            answer = self._connect(url).ask(url, origin.headers(url, asked))
            self._check_not_ended()
            try:
                found = answers.interpret(answer.status, answer.headers, asked=asked)
            except TransientError:
                raise
            except SourceError:
                if answer.status in (401, 403, 404, 410) and origin.forget_target():
                    url = origin.target
                    continue
                raise
            if isinstance(found, answers.Body):
                break
            redirects += 1
            if redirects > MAX_REDIRECTS:
                raise SourceError(f"it is redirected more than {MAX_REDIRECTS} times")
            url = origin.redirected(url, found.target)
        origin.settled(url, found)
        self._answer, self._position, self._body_end = answer, found.begin, found.end
        return answer

    def _connect(self, url: Url) -> Connection:
        self._answer = None
        if self._connection is not None and self._connection.key != (url.scheme, url.host, url.port):
            self._release()
        if self._connection is None:
            self._connection = self._origin.connection(url)
        self._check_not_ended()
        return self._connection

    def _check_not_ended(self) -> None:
        if self._turns.ended:
            raise TransientError("the read was broken off")

    def _break_off(self) -> None:
        connection = self._connection
        if connection is not None:
            connection.break_off()

    def _release(self) -> None:
        connection, self._connection, self._answer = self._connection, None, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _border(self) -> Iterator[None]:
        """Whatever goes wrong is one of ours, says where, and leaves no half-read answer behind."""
        where = self._origin.location
        try:
            try:
                yield
            except BaseException:
                self._release()
                raise
        except TransientError as error:
            raise failed(where, str(error), retry_after_s=error.retry_after_s) from error.__cause__
        except SourceError as error:
            text = str(error)
            raise (error if where in text else refused(where, text, type(error))) from error.__cause__
        except ssl.SSLCertVerificationError as error:
            raise refused(where, f"its certificate is not accepted: {error.verify_message}") from error
        except TimeoutError as error:
            raise failed(where, "the server was silent, or too slow, for too long") from error
        except socket.gaierror as error:
            make = failed if error.errno == socket.EAI_AGAIN else refused
            raise make(where, f"its host is not known: {error.strerror}") from error
        except OSError as error:
            raise failed(where, f"{type(error).__name__}: {error}") from error
        except http.client.IncompleteRead as error:
            raise failed(where, f"the connection ended after {self._position} bytes") from error
        except http.client.HTTPException as error:
            raise failed(
                where, f"the server's answer is no HTTP that is understood ({type(error).__name__})"
            ) from error
        except ValueError as error:  # a host that has no address could have
            raise refused(where, f"it cannot be asked for: {error}") from error
