"""What an HTTP server may answer to who fetches weights from it.

The promise: a read gives as many bytes as were sought, all of them bytes of the answers, and in their order; or it is
a `SourceError` of one short line. Nothing else comes out, whatever a server says of lengths, ranges, places or times.

The input is one answer after the other, with `NEXT` between them; each is the first and last of its connection, and
the last one is given again and again. No request leaves this process: whichever host a redirect names, it is ours.
"""

from __future__ import annotations

import atexit
import contextlib
import socket
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from random import Random
from unittest import mock

from instar.errors import SourceError
from instar.weights import sources
from instar.weights.sources import Limits
from tests.fuzz.targets import Target
from tests.weights.sources.servers import head

NEXT = b"\n~~~\n"
NBYTES, HALF = 16, 8
LONGEST_MESSAGE = 1000
CONTENT = b"0123456789abcdef"
LINES = (
    b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 5, 5", b"Content-Length: 0",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip, chunked", b"Content-Encoding: gzip",
    b"Content-Range: bytes 0-7/16", b"Content-Range: bytes 8-15/16", b"Content-Range: bytes 0-15/16",
    b"Content-Range: bytes 0-7/*", b"Content-Range: bytes */7", b"Content-Range: bytes 7-0/-1",
    b"Location: /", b"Location: https://user:word@[::1]:99999/\xff", b"Location: //host:0", b"Location: file:///etc",
    b"Retry-After: 3", b"Retry-After: Fri, 99 Dec 99999 99:99:99 +9999", b'ETag: "1"', b"ETag: W/\xff", b"ETag:",
    b"Last-Modified: never", b"Connection: close", b"X: " + b"y" * 9000, b" folded: line", b": nameless",
)  # fmt: skip
STATUSES = (b"100", b"200", b"206", b"302", b"304", b"404", b"416", b"429", b"503", b"999", b"20", b"\xb2\xb0\xb0")


def check(data: bytes) -> None:
    answers = data.split(NEXT)
    with _answering(answers):
        reader = sources.origin("http://host/file", nbytes=NBYTES, environ={}, limits=Limits(1, 1)).reader()
        for begin in (0, HALF):
            found = bytearray(HALF)

            def read(begin: int = begin, found: bytearray = found) -> bytes:
                reader.seek(begin, HALF)
                reader.read(memoryview(found))
                return bytes(found)

            _one(read, data)
        reader.close()
        reader = sources.origin("http://host/file", nbytes=None, environ={}, limits=Limits(1, 1)).reader()
        _one(lambda: reader.whole(NBYTES), data)
        reader.close()


def _one(read: Callable[[], bytes], data: bytes) -> None:
    try:
        found = read()
    except SourceError as error:
        text = str(error)
        assert len(text) < LONGEST_MESSAGE and text.isprintable(), text
        return
    rest = iter(data)
    assert all(byte in rest for byte in found), (found, data)  # in order, not necessarily next to each other


@contextlib.contextmanager
def _answering(answers: list[bytes]) -> Iterator[None]:
    left, open_ = list(answers), []
    real = socket.create_connection

    def connect(_address: object, timeout: float, *_: object) -> socket.socket:
        client = real(_listener().getsockname(), timeout)
        server, _peer = _listener().accept()
        open_.append(server)
        server.sendall(left.pop(0) if len(left) > 1 else left[0])
        server.shutdown(socket.SHUT_WR)
        return client

    try:
        with mock.patch.object(socket, "create_connection", connect):
            yield
    finally:
        for server in open_:
            server.close()


@cache
def _listener() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0))
    atexit.register(listener.close)
    return listener


def seeds() -> Iterable[bytes]:
    parts = [
        head(206, Content_Range=f"bytes {begin}-{begin + HALF - 1}/{NBYTES}", Content_Length=HALF, ETag='"1"')
        + CONTENT[begin : begin + HALF]
        for begin in (0, HALF)
    ]
    yield NEXT.join([*parts, head(200, Content_Length=NBYTES) + CONTENT])
    yield head(200, Content_Length=NBYTES) + CONTENT
    yield head(200, Transfer_Encoding="chunked") + b"a;x=y\r\n0123456789\r\n6\r\nabcdef\r\n0\r\nT: 1\r\n\r\n"
    yield b"HTTP/1.0 200 OK\r\n\r\n" + CONTENT
    yield NEXT.join([head(302, Location="http://other/", Content_Length=0), parts[0], parts[1]])
    yield NEXT.join([head(503, Retry_After="7", Content_Length=0), parts[1], head(416, Content_Range="bytes */7")])
    yield b"HTTP/1.1 100 Continue\r\n\r\n" + parts[0]


def mutate(random: Random, data: bytes) -> bytes | None:
    answers = data.split(NEXT)
    at = random.randrange(len(answers))
    lines = answers[at].split(b"\r\n")
    place = random.randrange(len(lines))
    match random.randrange(7):
        case 0:
            lines.insert(min(place, 1), random.choice(LINES))
        case 1:
            del lines[place]
        case 2:
            lines[place] = random.choice(LINES)
        case 3:
            lines[0] = b"HTTP/1.%d %s Said" % (random.randrange(2), random.choice(STATUSES))
        case 4:
            answers.insert(at, random.choice(answers))
        case 5:
            lines[-1] = lines[-1][: random.randrange(len(lines[-1]) + 1)]
        case _:
            return None
    answers[at] = b"\r\n".join(lines)
    return NEXT.join(answers)


TARGET = Target(check, seeds, mutate)
