"""An HTTP server that breaks off, stalls or talks nonsense: one error, in time, and the next try may do better."""

from __future__ import annotations

import itertools
import socket
import time

import pytest

from instar.errors import SourceError, TransientError
from tests.weights.sources import servers
from tests.weights.sources.conftest import SHORT, Serve, origin_of, read
from tests.weights.sources.servers import Request, head, part

SMALL = b"0123456789abcdef"
SOON_S = 30  # on the slowest machine; what does not end by itself never does


@pytest.mark.parametrize("ends", ["closed", "reset"])
def test_a_connection_that_breaks_anywhere_is_worth_another_try(serve: Serve, ends: str) -> None:
    whole = part(SMALL, Request("GET", "/", {"range": "bytes=0-15"}, 1), ETag='"1"')
    cuts = itertools.chain(range(0, len(whole), 3), [len(whole) - 1])
    broken = [False]

    def answer(request: Request, connection: socket.socket) -> bool:
        broken[0] = not broken[0]
        if not broken[0]:
            connection.sendall(part(SMALL, request, ETag='"1"'))
            return False
        connection.sendall(whole[: next(at)])
        if ends == "reset":
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            connection.close()
        return False

    server = serve(answer)
    for cut in cuts:
        at = iter([cut])
        reader = origin_of(server, len(SMALL)).reader()
        with pytest.raises(TransientError, match="cannot read weights from http"):
            read(reader, 0, len(SMALL))
        assert read(reader, 0, len(SMALL)) == SMALL
        reader.close()


def test_what_was_read_need_not_be_read_again(serve: Serve, data: bytes) -> None:
    def answer(request: Request, connection: socket.socket) -> bool:
        whole = part(data, request, ETag='"1"')
        connection.sendall(whole[: len(whole) - 50_000] if request.connection == 1 else whole)
        return False

    server = serve(answer)
    reader = origin_of(server, len(data)).reader()
    found = memoryview(bytearray(len(data)))
    reader.seek(0, len(data))
    reader.read(found[:40_000])
    with pytest.raises(TransientError, match="ended after"):
        reader.read(found[40_000:])
    reader.seek(40_000, len(data) - 40_000)
    reader.read(found[40_000:])
    reader.close()
    assert found == data
    assert server.requests[1].range == (40_000, len(data))
    assert server.requests[1].headers["if-range"] == '"1"'


@pytest.mark.parametrize("sent", [b"", b"HTTP/1.1 206 P", "head", "half"], ids=["nothing", "a line", "head", "half"])
def test_a_stall_ends(serve: Serve, sent: bytes | str) -> None:
    def answer(request: Request, connection: socket.socket) -> bool:
        whole = part(SMALL, request)
        match sent:
            case "head":
                connection.sendall(whole[: -len(SMALL)])
            case "half":
                connection.sendall(whole[:-8])
            case bytes():
                connection.sendall(sent)
        server.over.wait()
        return False

    server = serve(answer)
    reader = origin_of(server, len(SMALL), limits=SHORT).reader()
    began_s = time.monotonic()
    with pytest.raises(TransientError, match="silent, or too slow"):
        read(reader, 0, len(SMALL))
    assert time.monotonic() - began_s < SOON_S
    reader.close()


@pytest.mark.parametrize(
    "drops",
    [
        itertools.repeat(b"H"),
        itertools.chain([b"HTTP/1.1 206 Partial\r\n"], (b"X-%d: y\r\n" % n for n in itertools.count())),
        itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
        itertools.chain([head(206, Content_Range="bytes 0-15/16", Content_Length=16)], itertools.repeat(b"x", 12)),
        itertools.chain([head(200, Transfer_Encoding="chunked")], itertools.repeat(b"0")),
    ],
    ids=["a status line", "headers", "one 100 after the other", "a body", "the length of a chunk"],
)  # fmt: skip
def test_drops_that_never_end_do_not_hold_a_reader(serve: Serve, drops: itertools.chain[bytes]) -> None:
    def answer(_request: Request, connection: socket.socket) -> bool:
        for drop in drops:
            connection.sendall(drop)
            if server.over.wait(0.05):
                break
        return False

    server = serve(answer)
    reader = origin_of(server, len(SMALL), limits=SHORT).reader()
    began_s = time.monotonic()
    with pytest.raises(TransientError):
        read(reader, 0, len(SMALL))
    assert time.monotonic() - began_s < SOON_S
    reader.close()


@pytest.mark.parametrize(
    "answer",
    [b"\x16\x03\x01\x02\x00", b"SSH-2.0-OpenSSH\r\n", b"HTTP/9.9 OK\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n",
     b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000,
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
     b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n0\r\n\r\n"],
)  # fmt: skip
def test_what_is_no_http_is_an_error(serve: Serve, answer: bytes) -> None:
    reader = origin_of(serve(servers.fixed(answer)), len(SMALL)).reader()
    with pytest.raises(SourceError, match="cannot read weights from"):
        read(reader, 0, len(SMALL))
    reader.close()


def test_nobody_listening_is_worth_another_try(serve: Serve) -> None:
    with servers.Server(servers.ranges(SMALL)) as server:
        gone = origin_of(server, len(SMALL))
    with pytest.raises(TransientError, match="refused"):
        gone.reader().seek(0, 1)
