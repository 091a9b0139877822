"""A container's side of a connection, for whatever a test wants it to do there."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from instar_controller.clients import exchange
from instar_controller.whisk.response import Outcome

Server = Callable[[socket.socket], None]


@contextlib.contextmanager
def serving(answer: Server) -> Iterator[tuple[str, int]]:
    """A listener whose one connection `answer` handles; it is closed when that returns."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, contextlib.suppress(OSError):
                answer(connection)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[:2]
        thread.join(60)


def request_of(connection: socket.socket) -> bytes:
    data = b""
    while b"\r\n\r\n" not in data:
        data += _received(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    while len(body) < length:
        body += _received(connection)
    return head + b"\r\n\r\n" + body


def _received(connection: socket.socket) -> bytes:
    if not (data := connection.recv(65536)):
        raise ConnectionError("whoever asked has gone, and has not said all of it")  # his time was up
    return data


def replying(reply: bytes) -> Server:
    def serve(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(reply)

    return serve


def post(server: Server, body: bytes = b"{}", *, timeout_ms: int = 60_000, max_reply_bytes: int = 1000) -> Outcome:
    with serving(server) as address:
        return exchange.post(address, "/run", body, timeout_ms=timeout_ms, max_reply_bytes=max_reply_bytes)
