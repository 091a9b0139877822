"""Raw bytes on the port of a running container.

The promise: a connection is answered in HTTP or closed, in the time that its client has, and the next client is
served as if nothing had been. The container is a real one, with a function that hands back what it is given; the
search is not guided by coverage, since what it would cover is another process.
"""

from __future__ import annotations

import json
import socket
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from random import Random

from tests.fuzz import mutations
from tests.fuzz.targets import Target
from tests.runtime.containers import Container

ANSWER_S = 20
BOOT_S = 100
ECHO = "def main(args):\n    return args\n"
LINES = (
    b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 5, 5", b"Content-Length: +5",
    b"Transfer-Encoding: chunked", b"Transfer-Encoding: gzip", b"Transfer-Encoding: chunked, identity",
    b"Expect: 100-continue", b"Expect: nothing", b"Connection: close", b"Connection: keep-alive", b"Upgrade: h2c",
    b"Host: \xff", b"X: " + b"y" * 9000, b" folded: line", b": nameless", b"Content-Type: multipart/form-data",
)  # fmt: skip


def check(data: bytes) -> None:
    container = _container()
    with socket.create_connection(("127.0.0.1", container.port), timeout=ANSWER_S) as connection:
        try:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            found = b""
            while piece := connection.recv(1 << 16):
                found += piece
        except ConnectionError:
            found = b""  # closed while we still wrote
    assert not found or found.startswith(b"HTTP/1."), found[:100]
    value = {"n": len(data)}
    assert container.run(value, timeout_s=ANSWER_S).json == value


@cache
def _container() -> Container:
    # It ends with this process, which holds its lifeline.
    container = Container(Path(tempfile.mkdtemp(prefix="instar-fuzz-")) / "container")
    assert container.send("GET", "/ready", None, timeout_s=BOOT_S).status == 200
    assert container.init(ECHO).status == 200
    return container


def seeds() -> Iterable[bytes]:
    _container()  # its boot is not to count against the first input's time
    body = json.dumps({"value": {"a": 1}}).encode()
    for path in ("/run", "/init", "/ready"):
        yield _request(f"POST {path} HTTP/1.1", (), body)
    yield _request("GET /ready HTTP/1.1", (b"Connection: close",), b"")
    yield _request("POST /run HTTP/1.0", (), body)
    yield b"POST /run HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{    \r\n1\r\n}\r\n0\r\n\r\n"
    yield _request("POST /run HTTP/1.1", (b"Expect: 100-continue",), body) + _request("GET / HTTP/1.1", (), b"")


def _request(line: str, headers: Iterable[bytes], body: bytes) -> bytes:
    stated = b"Content-Length: %d" % len(body)
    return b"\r\n".join((line.encode(), b"Host: a", *headers, stated, b"", body))


def mutate(random: Random, data: bytes) -> bytes | None:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    match random.randrange(5):
        case 0:
            lines.insert(random.randrange(len(lines) + 1), random.choice(LINES))
        case 1:
            del lines[random.randrange(len(lines))]
        case 2:
            body = mutations.change(random, body) or body[: random.randrange(len(body) + 1)]
        case 3:
            return data + data
        case _:
            return None
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


TARGET = Target(check, seeds, mutate)
