"""A way to an HTTP server on which things go wrong as a test wants them to.

One rule: without a fault a request and its answer pass unchanged, a streamed answer piece by piece. A fault is used
up by one request; `from_now_on` is for as long as it lasts. Nothing here sleeps: whatever waits, ends with the proxy.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, TypeAlias

from free_ports import free_port

_HOST = "127.0.0.1"
_PIECE = 1 << 16
_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "content-length", "host")


@dataclass(frozen=True)
class Delay:
    """The request goes on only after so many seconds."""

    seconds: float


@dataclass(frozen=True)
class Held:
    """The request goes on when the test says so."""

    until: threading.Event = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Answer:
    """The server never sees the request; this comes back, with `reason` in it as CouchDB has it."""

    status: int
    error: str = "error"
    reason: str = "the test wants it"
    text: str | None = None  # instead of CouchDB's form

    @property
    def body(self) -> bytes:
        return (json.dumps({"error": self.error, "reason": self.reason}) if self.text is None else self.text).encode()


@dataclass(frozen=True)
class CutBefore:
    """The connection breaks, and the server never sees the request."""


@dataclass(frozen=True)
class CutAfter:
    """The server does what is asked, then the connection breaks without an answer."""


@dataclass(frozen=True)
class CutWithin:
    """The server does what is asked, then the connection breaks in the middle of the answer."""


@dataclass(frozen=True)
class Trickle:
    """The answer's body begins, and then goes on with one blank each so many seconds, for ever."""

    seconds: float


@dataclass(frozen=True)
class Changed:
    """The request's body is changed on its way there (None: it goes as it is), the answer's on its way back."""

    request: Callable[[Any], Any] | None
    answer: Callable[[Any], Any]


@dataclass(frozen=True)
class Limited:
    """A request whose body is longer is answered with 413, as CouchDB does beyond its `max_http_request_size`."""

    most_bytes: int


Fault: TypeAlias = Delay | Held | Limited | Answer | CutBefore | CutAfter | CutWithin | Trickle | Changed


class FaultyProxy:
    """A proxy on a port of its own. Use it as a context."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self.host = _HOST
        self.port = free_port(_HOST)
        self.requests: list[tuple[str, str]] = []  # method and target of each, in the order in which they came
        self.ended = threading.Event()
        self._changed = threading.Condition()
        self._next: list[tuple[str, Fault]] = []
        self._lasting: tuple[str, Fault] | None = None
        self._open: set[socket.socket] = set()
        self._server: ThreadingHTTPServer | None = None

    def __enter__(self) -> FaultyProxy:
        self.come_back()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.ended.set()
        self.go_down()

    def on_next(self, *faults: Fault, path: str = "") -> None:
        """What happens to the next requests whose target has `path` in it, one each."""
        with self._changed:
            self._next += [(path, fault) for fault in faults]

    @contextlib.contextmanager
    def from_now_on(self, fault: Fault, *, path: str = "") -> Iterator[None]:
        """What happens to every request whose target has `path` in it and that has no fault of its own, as long as
        this lasts."""
        with self._changed:
            self._lasting = path, fault
        try:
            yield
        finally:
            with self._changed:
                self._lasting = None

    def go_down(self) -> None:
        """Connections break, and new ones are refused."""
        server, self._server = self._server, None
        if server is None:
            return
        server.shutdown()
        server.server_close()
        with self._changed:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            self._changed.wait_for(lambda: not self._open, 5)

    def come_back(self) -> None:
        """Take connections again, on the same port."""
        proxy = self

        class Handler(_Handler):
            owner = proxy

        self._server = _Server((_HOST, self.port), Handler)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="faulty-proxy", daemon=True
        ).start()

    def wait_for_requests(self, count: int, *, path: str = "", timeout_s: float = 60.0) -> None:
        """Return when this many requests with `path` in their target have come, ever."""

        def came() -> bool:
            return sum(path in target for _, target in self.requests) >= count

        with self._changed:
            if not self._changed.wait_for(came, timeout_s):
                raise TimeoutError(f"{self.requests} after {timeout_s} s, not {count} with {path!r}")

    def begin(self, method: str, target: str) -> Fault | None:
        """A request has come: what happens to it."""
        with self._changed:
            self.requests.append((method, target))
            self._changed.notify_all()
            for at, (path, fault) in enumerate(self._next):
                if path in target:
                    del self._next[at]
                    return fault
            path, lasting = self._lasting or ("", None)
            return lasting if path in target else None

    @contextlib.contextmanager
    def has_open(self, connection: socket.socket) -> Iterator[None]:
        """A connection that has to break when this goes down. Raises `ConnectionAbortedError` if it has."""
        with self._changed:
            if self._server is None:  # it was taken just before
                raise ConnectionAbortedError("the proxy is down")
            self._open.add(connection)
        try:
            yield
        finally:
            with self._changed:
                self._open.discard(connection)
                self._changed.notify_all()


class _Server(ThreadingHTTPServer):
    allow_reuse_address = True
    request_queue_size = 128  # with the library's 5, one that comes when many do waits for a second and more
    daemon_threads = True
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Connections break here by design."""


class _Handler(BaseHTTPRequestHandler):
    owner: FaultyProxy
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # one packet an answer

    def handle(self) -> None:
        with self.owner.has_open(self.connection), contextlib.suppress(OSError, http.client.HTTPException):
            super().handle()

    def log_message(self, format: str, *args: object) -> None:
        """Tests say what they need to know."""

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        match self.owner.begin(self.command, self.path):
            case Delay(seconds):
                if not self.owner.ended.wait(seconds):
                    self._forward(body)
            case Held(until):
                if _comes(until, self.owner.ended):
                    self._forward(body)
            case Limited(most_bytes) if len(body) > most_bytes:
                answer = Answer(413, "too_large", "the request entity is too large")
                self._answer(413, "application/json", answer.body)
            case Answer(status) as answer:
                self._answer(status, "application/json" if answer.text is None else "text/html", answer.body)
            case CutBefore():
                self._cut()
            case CutAfter():
                self._asked(body)
                self._cut()
            case CutWithin():
                status, content_type, content = self._asked(body)
                self._head(status, content_type, ("Content-Length", str(len(content))))
                self.wfile.write(content[: len(content) // 2])
                self._cut()
            case Trickle(seconds):
                status, content_type, content = self._asked(body)
                self._head(status, content_type, ("Content-Length", str(len(content) + 1_000_000)))
                while not self.owner.ended.wait(seconds):
                    self.wfile.write(b" ")
                    self.wfile.flush()
            case Changed(request, answer):
                sent = body if request is None else json.dumps(request(json.loads(body))).encode()
                status, content_type, content = self._asked(sent)
                self._answer(status, content_type, json.dumps(answer(json.loads(content))).encode())
            case _:
                self._forward(body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _pass

    def _asked(self, body: bytes) -> tuple[int, str, bytes]:
        """What the server answers."""
        with self._upstream(body) as response:
            return response.status, response.headers.get("Content-Type", ""), response.read()

    def _forward(self, body: bytes) -> None:
        with self._upstream(body) as response:
            content_type = response.headers.get("Content-Type", "")
            if not response.chunked:
                self._answer(response.status, content_type, response.read())
                return
            self._head(response.status, content_type, ("Transfer-Encoding", "chunked"))
            while piece := response.read1(_PIECE):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                self.wfile.flush()
            self.wfile.write(b"0\r\n\r\n")

    @contextlib.contextmanager
    def _upstream(self, body: bytes) -> Iterator[http.client.HTTPResponse]:
        connection = http.client.HTTPConnection(*self.owner.target, timeout=60)
        headers = {name: value for name, value in self.headers.items() if name.lower() not in _HOP_BY_HOP}
        try:
            connection.connect()
            with self.owner.has_open(connection.sock):
                connection.request(self.command, self.path, body=body or None, headers=headers)
                with connection.getresponse() as response:
                    yield response
        finally:
            connection.close()

    def _answer(self, status: int, content_type: str, content: bytes) -> None:
        self._head(status, content_type, ("Content-Length", str(len(content))))
        self.wfile.write(content)

    def _head(self, status: int, content_type: str, framing: tuple[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header(*framing)
        self.end_headers()

    def _cut(self) -> None:
        """Break the connection at once, as a process does that is killed."""
        self.wfile.flush()
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()


def _comes(event: threading.Event, end: threading.Event) -> bool:
    """Whether the event comes before the end."""
    while not event.wait(0.05):
        if end.is_set():
            return False
    return True
