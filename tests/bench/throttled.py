"""A source of weights with a known bandwidth: an HTTP file server on loopback, in a process of its own.

The rule: all connections together get `rate` bytes a second, never more. A piece leaves when the time that a link of
this bandwidth takes for it has passed, not before; what an idle link did not carry is lost, while a moment in which
the server itself was not scheduled is caught up with, as a real link would not have waited for a process either.

HTTP/1.1 with keep-alive, ranges (of one part), `ETag`, `If-Match` and `If-Range`. Bytes go by `sendfile` from the
page cache to the socket, so that serving costs little of the machine that is measured: 0.3 to 0.5 seconds of
processor time a gigabyte. It keeps a log of what it sent when, for timelines. One thread; no TLS, no directories.

    with throttled.serving(folder) as source:
        source.set_rate(400e6)
        ... source.url("model.safetensors") ...
        source.sent()
"""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import select
import socket
import subprocess
import sys
import time
import urllib.parse
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

QUANTUM = 256 * 1024
CAUGHT_UP_S = 0.02  # how long the server may have been kept from running and still send what the link had carried
SEND_BUFFER = 2 * 1024 * 1024  # bounds what lies in the kernel: the log tells the truth, a cut read is cut soon
REQUEST_BYTES = 16 * 1024
READ_BYTES = 4 * 1024 * 1024
PR_SET_TIMERSLACK = 29


@dataclass(frozen=True, slots=True)
class Sent:
    """A piece that left: when (monotonic), on which connection, of which file, from where, how many bytes."""

    at_ns: int
    connection: int
    path: str
    offset: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Source:
    """The parent's end of a running server."""

    port: int
    process: subprocess.Popen[bytes]

    def url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/{path}"

    @property
    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.port

    def set_rate(self, bytes_per_s: float) -> None:
        """From now on; to be called while nothing is being sent."""
        self._ask({"rate": bytes_per_s})

    def sent(self) -> list[Sent]:
        """All that was sent since this was asked last."""
        return [Sent(*entry) for entry in self._ask({"sent": True})]

    def cpu_s(self) -> float:
        """The processor time that the server has taken so far."""
        return float(self._ask({"cpu": True}))

    def _ask(self, question: dict[str, Any]) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(question).encode() + b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"the throttled source ended with status {self.process.wait()}")
        return json.loads(line)


@contextmanager
def serving(folder: Path) -> Iterator[Source]:
    """Serve the files below a folder, without a limit until `set_rate`."""
    command = [sys.executable, "-m", "tests.bench.throttled", str(folder)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None and process.stdout is not None
    try:
        yield Source(int(process.stdout.readline()), process)
    finally:
        process.stdin.close()  # which ends it
        process.stdout.close()
        process.wait()


def plain_rate(source: Source, path: str) -> float:
    """Bytes a second of a plain download on one connection, which keeps nothing: what the source gives at best."""
    buffer = memoryview(bytearray(READ_BYTES))
    connection = http.client.HTTPConnection(*source.address)
    try:
        begin = time.perf_counter()
        connection.request("GET", f"/{path}")
        with connection.getresponse() as response:
            total = 0
            while count := response.readinto(buffer):
                total += count
        return total / (time.perf_counter() - begin)
    finally:
        connection.close()


class Pace:
    """A link's time. Pure: the clock is passed in, in seconds."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._carried_until = 0.0  # everything before this moment is spent or lost

    def begin(self, now: float) -> None:
        """The link was idle until now."""
        self._carried_until = now

    def due(self, nbytes: int) -> float:
        """When a piece of `nbytes` has passed the link."""
        return self._carried_until + nbytes / self.rate

    def spend(self, nbytes: int, now: float) -> None:
        """A piece has left."""
        self._carried_until = max(self.due(nbytes), now - CAUGHT_UP_S)


@dataclass(slots=True, eq=False)
class Body:
    """What is left to send of one answer: its head, then a part of a file."""

    head: bytes
    path: str = ""
    descriptor: int = -1
    offset: int = 0
    nbytes: int = 0

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)


@dataclass(slots=True, eq=False)
class Connection:
    """One client: what it has asked for, in order."""

    number: int
    socket: socket.socket
    served: int = 0  # when it was sent something last, in ns: who has waited longest comes first
    received: bytes = b""
    bodies: deque[Body] = field(default_factory=deque)

    def fileno(self) -> int:
        return self.socket.fileno()


class Server:
    """The loop of the child process. It owns every connection and the log."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.pace = Pace(float("inf"))
        self.connections: dict[int, Connection] = {}
        self.count = 0
        self.log: list[tuple[int, int, str, int, int]] = []
        self.is_idle = True

    def run(self, questions: IO[bytes], answers: IO[bytes]) -> None:
        """Serve until `questions` ends."""
        answers.write(f"{self.listener.getsockname()[1]}\n".encode())
        answers.flush()
        while True:
            waiting = sorted((c for c in self.connections.values() if c.bodies), key=lambda c: c.served)
            if waiting and self.is_idle:
                self.pace.begin(time.monotonic())
            self.is_idle = not waiting
            # What is due leaves at once; only what it does not take is asked for by `select`, for calls cost.
            is_stuck = bool(waiting) and not any([self._send(c) for c in waiting if self._is_due(c)])
            wait_s = self._until_due() if waiting else None
            readers: list[Any] = [questions, self.listener, *self.connections.values()]
            if is_stuck and wait_s == 0:
                # Nobody takes anything: the link stands idle until somebody does.
                readable, _, _ = select.select(readers, [c for c in waiting if c.bodies], [])
                self.pace.begin(time.monotonic())
            else:
                readable, _, _ = select.select(readers, [], [], wait_s)
            for one in readable:
                if one is questions:
                    if not self._answer(questions.readline(), answers):
                        return
                elif one is self.listener:
                    self._accept()
                else:
                    self._receive(one)

    def _answer(self, line: bytes, answers: IO[bytes]) -> bool:
        if not line:
            return False
        reply: Any = True
        match json.loads(line):
            case {"rate": rate}:
                self.pace.rate = float(rate)
            case {"sent": _}:
                reply, self.log = self.log, []
            case {"cpu": _}:
                reply = time.process_time()
        answers.write(json.dumps(reply).encode() + b"\n")
        answers.flush()
        return True

    def _accept(self) -> None:
        accepted, _ = self.listener.accept()
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.connections[accepted.fileno()] = Connection(self.count, accepted)
        self.count += 1

    def _receive(self, connection: Connection) -> None:
        try:
            data = connection.socket.recv(REQUEST_BYTES)
        except OSError:
            data = b""
        connection.received += data
        if not data or len(connection.received) > REQUEST_BYTES:
            self._drop(connection)
            return
        while b"\r\n\r\n" in connection.received:
            text, _, connection.received = connection.received.partition(b"\r\n\r\n")
            connection.bodies.append(self._body(text.decode("latin-1")))

    def _drop(self, connection: Connection) -> None:
        del self.connections[connection.fileno()]
        connection.socket.close()
        for body in connection.bodies:
            body.close()
        connection.bodies.clear()

    def _until_due(self) -> float:
        """Seconds until something may leave; none if a connection is through, for then there is more to look at."""
        pieces = [c.bodies[0].nbytes for c in self.connections.values() if c.bodies]
        return max(0.0, self.pace.due(min(*pieces, QUANTUM)) - time.monotonic()) if pieces else 0.0

    def _is_due(self, connection: Connection) -> bool:
        piece = min(connection.bodies[0].nbytes, QUANTUM)
        return self.pace.due(piece) <= time.monotonic()

    def _send(self, connection: Connection) -> bool:
        """Let a piece leave. Returns whether any of it did."""
        body = connection.bodies[0]
        try:
            if body.head:
                # Heads are a few hundred bytes and are not counted.
                body.head = body.head[connection.socket.send(body.head, socket.MSG_MORE if body.nbytes else 0) :]
            if not body.head and body.nbytes:
                wanted = min(body.nbytes, QUANTUM)
                sent = os.sendfile(connection.fileno(), body.descriptor, body.offset, wanted)
                now = time.monotonic_ns()
                self.pace.spend(sent, now / 1e9)
                connection.served = now
                self.log.append((now, connection.number, body.path, body.offset, sent))
                body.offset += sent
                body.nbytes -= sent
        except BlockingIOError:
            return False
        except OSError:
            self._drop(connection)
            return True
        if not body.head and not body.nbytes:
            connection.bodies.popleft().close()
        return True

    def _body(self, text: str) -> Body:
        first, *lines = text.split("\r\n")
        method, _, target = first.partition(" ")
        path = urllib.parse.unquote(target.partition(" ")[0].partition("?")[0]).lstrip("/")
        headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        place = (self.folder / path).resolve()
        if method not in ("GET", "HEAD") or self.folder not in place.parents or not place.is_file():
            return Body(_head("404 Not Found", 0))
        status = place.stat()
        tag = f'"{status.st_size:x}-{status.st_mtime_ns:x}"'
        about = [f"ETag: {tag}", "Accept-Ranges: bytes", "Content-Type: application/octet-stream"]
        if headers.get("if-match", tag) not in (tag, "*"):
            return Body(_head("412 Precondition Failed", 0, *about))
        part = _part(headers.get("range", ""), status.st_size) if headers.get("if-range", tag) == tag else None
        if part is None:
            begin, end, head = 0, status.st_size, _head("200 OK", status.st_size, *about)
        else:
            begin, end = part
            if begin >= end:
                return Body(_head("416 Range Not Satisfiable", 0, f"Content-Range: bytes */{status.st_size}"))
            about.append(f"Content-Range: bytes {begin}-{end - 1}/{status.st_size}")
            head = _head("206 Partial Content", end - begin, *about)
        if method == "HEAD":
            return Body(head)
        return Body(head, path, os.open(place, os.O_RDONLY | os.O_CLOEXEC), begin, end - begin)


def _part(value: str, size: int) -> tuple[int, int] | None:
    """Begin and end of the part that a `Range` header asks for; nothing where it asks for none, or for several."""
    unit, _, span = value.partition("=")
    first, dash, last = span.partition("-")
    if unit.strip() != "bytes" or not dash or "," in span:
        return None
    if not first:
        return max(0, size - int(last)), size
    return int(first), min(size, int(last) + 1 if last else size)


def _head(status: str, length: int, *headers: str) -> bytes:
    return "\r\n".join((f"HTTP/1.1 {status}", f"Content-Length: {length}", *headers, "", "")).encode()


if __name__ == "__main__":
    # Without this a wait ends 50 microseconds late, a third of what a quantum takes at 1,500 MB/s.
    ctypes.CDLL(None).prctl(PR_SET_TIMERSLACK, 1, 0, 0, 0)
    Server(Path(sys.argv[1])).run(os.fdopen(0, "rb", buffering=0), sys.stdout.buffer)
