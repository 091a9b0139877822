"""One request to a container over HTTP, within one deadline.

A container runs other people's code: an answer may never come, come in drops, lack its length or be endless. So
the deadline holds for the whole exchange, not for each read, and a body is read only up to the permitted size.
What an outcome means is decided in `whisk/response.py`.
"""

from __future__ import annotations

import contextlib
import http.client
import io
import secrets
import socket
import threading
import time
from collections.abc import Generator, Sequence
from typing import cast

from instar_controller.errors import ContainerError
from instar_controller.ports import NOT_OFFERED
from instar_controller.whisk import weights
from instar_controller.whisk.response import Disconnected, Outcome, Replied, TimedOut

Address = tuple[str, int]

LONG_BYTES = 1 << 16
NOT_FOUND = 404
TOKEN = "INSTAR_TOKEN"  # in a container's environment: who may transform it
TOKEN_BYTES = 32


class Connections:
    """The connections to one container that are open just now. When it has ended they are cut, since its network may
    go before its goodbye gets through, and waiting for an answer would then last until time is up.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._is_cut = False

    def cut(self) -> None:
        """Break those that are open or being made, and let no more be made."""
        with self._lock:
            self._is_cut = True
            for connection in self._open:
                with contextlib.suppress(OSError):  # it was not open yet, or no longer
                    connection.shutdown(socket.SHUT_RDWR)

    @contextlib.contextmanager
    def make(self, address: Address, timeout_s: float) -> Generator[socket.socket]:
        """A connection for as long as the context lasts. Raises `OSError` if it cannot be made."""
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as connection:
            with self._lock:
                self._open.add(connection)
            try:
                self._refuse_if_cut()
                connection.settimeout(timeout_s)
                connection.connect(address)
                self._refuse_if_cut()
                yield connection
            finally:
                with self._lock:
                    self._open.discard(connection)

    def _refuse_if_cut(self) -> None:
        with self._lock:
            if self._is_cut:
                raise ConnectionRefusedError("the container has ended")


def post(
    address: Address,
    path: str,
    body: bytes,
    *,
    timeout_ms: int,
    max_reply_bytes: int,
    connections: Connections | None = None,
    token: str | None = None,
) -> Outcome:
    """Post `body`, JSON, on a connection of its own; a `token` says who we are.

    Raises `ContainerError` if the connection was not made, so that certainly nothing was sent.
    """
    head = _head("POST", address, path, len(body), token)
    # A long body is not copied for its head's sake; a short one leaves in the same packet.
    request = (head + body,) if len(body) < LONG_BYTES else (head, body)
    return _exchange(address, request, timeout_ms, max_reply_bytes, connections or Connections())


def transform(
    address: Address,
    token: str,
    body: bytes,
    *,
    timeout_ms: int,
    max_reply_bytes: int,
    connections: Connections | None = None,
) -> Outcome:
    """Have a container that was made with this token become another function, as `post` does. `NOT_OFFERED` if its
    runtime does not know of that."""
    outcome = post(
        address,
        "/transform",
        body,
        timeout_ms=timeout_ms,
        max_reply_bytes=max_reply_bytes,
        connections=connections,
        token=token,
    )
    return NOT_OFFERED if isinstance(outcome, Replied) and outcome.status == NOT_FOUND else outcome


def make_token() -> str:
    """A token that nobody can guess."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def get(
    address: Address, path: str, *, timeout_ms: int, max_reply_bytes: int, connections: Connections | None = None
) -> Outcome:
    """Ask for `path`, as `post` does."""
    return _exchange(
        address, (_head("GET", address, path, 0),), timeout_ms, max_reply_bytes, connections or Connections()
    )


def _exchange(
    address: Address, request: Sequence[bytes], timeout_ms: int, max_reply_bytes: int, connections: Connections
) -> Outcome:
    deadline_s = time.monotonic() + timeout_ms / 1000
    with contextlib.ExitStack() as stack:
        try:
            connection = stack.enter_context(connections.make(address, timeout_ms / 1000))
        except OSError as error:
            raise ContainerError(f"no connection to the container at {address[0]}:{address[1]}: {error}") from error
        try:
            for part in request:
                _send(connection, part, deadline_s)
            return _receive(connection, deadline_s, max_reply_bytes)
        except TimeoutError:
            return TimedOut(timeout_ms)
        except (OSError, http.client.HTTPException):
            return Disconnected()


def _head(method: str, address: Address, path: str, length: int, token: str | None = None) -> bytes:
    authorization = "" if token is None else f"Authorization: Bearer {token}\r\n"
    return (
        f"{method} {path} HTTP/1.1\r\n"
        f"Host: {address[0]}:{address[1]}\r\n"
        "Accept: application/json\r\n"
        "Content-Type: application/json\r\n"
        f"{authorization}"
        f"Content-Length: {length}\r\n"
        "Connection: close\r\n\r\n"
    ).encode("ascii")


def _send(connection: socket.socket, part: bytes, deadline_s: float) -> None:
    connection.settimeout(_left_s(deadline_s))  # for `sendall` as a whole
    with contextlib.suppress(ConnectionError):  # it may have answered, and closed, before it had read all
        connection.sendall(part)


def _receive(connection: socket.socket, deadline_s: float, max_reply_bytes: int) -> Outcome:
    response = http.client.HTTPResponse(cast(socket.socket, _Source(connection, deadline_s)), method="POST")
    try:
        response.begin()
        length = response.length
        if length is None or response.status == 204:
            return Disconnected()  # so OpenWhisk's client sees a reply without a length
        body = response.read(min(length, max_reply_bytes + 1))
        if len(body) < min(length, max_reply_bytes + 1):
            return Disconnected()
        return Replied(response.status, body, length, weights.parse_report(response.getheader(weights.HEADER)))
    finally:
        response.close()


def _left_s(deadline_s: float) -> float:
    left_s = deadline_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s


class _Source(io.RawIOBase):
    """A socket's bytes, each read of which may take no longer than what is left until the deadline.

    It stands in for the socket of which `HTTPResponse` asks nothing but a file.
    """

    def __init__(self, connection: socket.socket, deadline_s: float) -> None:
        self._connection = connection
        self._deadline_s = deadline_s

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, 65536)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        self._connection.settimeout(_left_s(self._deadline_s))
        return self._connection.recv_into(buffer)
