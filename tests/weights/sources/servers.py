"""A real HTTP server on loopback that answers with whatever bytes a test wants, true or not.

The rule: nothing here helps to be correct; a test says byte by byte what a server sends, and when it stops.
"""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from types import TracebackType


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked: the head, and for PUT the body."""

    method: str
    path: str
    headers: dict[str, str]
    connection: int  # its number
    body: bytes = b""

    @property
    def range(self) -> tuple[int, int] | None:
        """[begin, end) of the header Range."""
        found = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        return (int(found[1]), int(found[2]) + 1) if found else None


Answer = Callable[[Request, socket.socket], bool]  # writes; True if the connection is kept


@dataclass
class Server:
    """Answers each request with `answer`; remembers what was asked. Ends with its context."""

    answer: Answer
    tls: ssl.SSLContext | None = None
    most_body_bytes: int = 1 << 40  # of a request's body, are read before it is answered
    requests: list[Request] = field(default_factory=list)
    over: threading.Event = field(default_factory=threading.Event)  # for answers that stall until the end

    def __enter__(self) -> Server:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.over.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        for connection in list(self._open):
            _shut(connection)
        for thread in self._threads:
            thread.join(60)
        self._listener.close()

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def url(self, path: str = "/file", host: str = "127.0.0.1") -> str:
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{path}"

    def _accept(self) -> None:
        number = 0
        while not self.over.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            number += 1
            self._open.add(connection)
            thread = threading.Thread(target=self._serve, args=(connection, number), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket, number: int) -> None:
        try:
            if self.tls is not None:
                self._open.discard(connection)
                connection = self.tls.wrap_socket(connection, server_side=True)
                self._open.add(connection)
            while (request := _read(connection, number, self.most_body_bytes)) is not None:
                self.requests.append(request)
                if not self.answer(request, connection):
                    break
        except OSError:
            pass
        finally:
            self._open.discard(connection)
            _shut(connection)
            connection.close()


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def _read(connection: socket.socket, number: int, most_body_bytes: int) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        piece = connection.recv(65536)
        if not piece:
            return None
        data += piece
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < min(int(headers.get("content-length", 0)), most_body_bytes):
        piece = connection.recv(65536)
        if not piece:
            return None
        body += piece
    return Request(method, path, headers, number, body)


def head(status: int, **headers: object) -> bytes:
    """The head of an answer; `Content_Range=…` becomes `Content-Range: …`."""
    lines = [f"HTTP/1.1 {status} Said", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def part(data: bytes, request: Request, **headers: object) -> bytes:
    """The whole answer of a server that knows ranges."""
    if request.range is None:
        return head(200, Content_Length=len(data), **headers) + data
    begin, end = request.range[0], min(request.range[1], len(data))
    said = f"bytes {begin}-{end - 1}/{len(data)}"
    return head(206, Content_Range=said, Content_Length=end - begin, **headers) + data[begin:end]


def ranges(data: bytes, **headers: object) -> Answer:
    """A good server, that knows ranges."""

    def answer(request: Request, connection: socket.socket) -> bool:
        connection.sendall(part(data, request, **headers))
        return True

    return answer


def no_ranges(data: bytes, **headers: object) -> Answer:
    """A good server, that sends everything each time."""

    def answer(_request: Request, connection: socket.socket) -> bool:
        connection.sendall(head(200, Content_Length=len(data), **headers) + data)
        return True

    return answer


def chunked(data: bytes, size: int = 7000) -> Answer:
    """Everything, in chunks, with no word on how much it is."""

    def answer(_request: Request, connection: socket.socket) -> bool:
        body = b"".join(
            b"%x;note=1\r\n%s\r\n" % (len(data[at : at + size]), data[at : at + size])
            for at in range(0, len(data), size)
        )
        connection.sendall(head(200, Transfer_Encoding="chunked") + body + b"0\r\nTrailer: 1\r\n\r\n")
        return True

    return answer


def until_the_end(data: bytes) -> Answer:
    """HTTP/1.0: everything, and the connection's end is the file's."""

    def answer(_request: Request, connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + data)
        return False

    return answer


def fixed(*answers: bytes) -> Answer:
    """These bytes, one after the other, the last one again and again; each ends its connection."""
    left = list(answers)

    def answer(_request: Request, connection: socket.socket) -> bool:
        connection.sendall(left.pop(0) if len(left) > 1 else left[0])
        return False

    return answer
