"""One HTTP exchange with whatever a container does on its side of the connection."""

from __future__ import annotations

import socket
import threading

import pytest
from listeners import post, replying, request_of, serving

from instar_controller.clients import exchange
from instar_controller.errors import ContainerError
from instar_controller.whisk.response import Disconnected, Replied, TimedOut


def test_the_request_is_what_an_invoker_sends() -> None:
    seen: list[bytes] = []

    def serve(connection: socket.socket) -> None:
        seen.append(request_of(connection))
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    assert post(serve, b'{"value":{}}') == Replied(200, b"{}", 2)
    head, _, body = seen[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /run HTTP/1.1\r\n")
    assert b"Content-Type: application/json" in head and b"Accept: application/json" in head
    assert body == b'{"value":{}}'


def test_a_long_reply_is_read_one_byte_beyond_the_limit_and_no_further() -> None:
    reply = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
    assert post(replying(reply), max_reply_bytes=10) == Replied(200, b"x" * 11, 5000)


@pytest.mark.parametrize(
    "reply",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Le", id="half a head"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}", id="half a body"),
        pytest.param(b"HTTP/1.1 200 OK\r\n\r\n{}", id="no length"),
        pytest.param(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", id="chunked"),
        pytest.param(b"HTTP/1.1 204 No Content\r\n\r\n", id="204"),
        pytest.param(b"hello there\r\n\r\n", id="no HTTP"),
        pytest.param(b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}", id="length in words"),
    ],
)
def test_what_is_no_whole_reply_counts_as_none(reply: bytes) -> None:
    assert post(replying(reply)) == Disconnected()


def test_an_empty_reply_with_its_length_is_a_reply() -> None:
    assert post(replying(b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n")) == Replied(500, b"", 0)


def test_a_container_that_never_answers_is_left_when_time_is_up() -> None:
    done = threading.Event()

    def serve(connection: socket.socket) -> None:
        request_of(connection)
        done.wait(60)

    with serving(serve) as address:
        outcome = exchange.post(address, "/run", b"{}", timeout_ms=200, max_reply_bytes=10)
        done.set()
    assert outcome == TimedOut(200)


def test_drops_that_keep_coming_do_not_stretch_the_time_limit() -> None:
    stop = threading.Event()

    def serve(connection: socket.socket) -> None:
        request_of(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
        while not stop.wait(0.01):
            connection.sendall(b"x")

    with serving(serve) as address:
        outcome = exchange.post(address, "/run", b"{}", timeout_ms=200, max_reply_bytes=100_000)
        stop.set()
    assert outcome == TimedOut(200)


def test_an_answer_that_comes_before_all_was_read_is_heard() -> None:
    def serve(connection: socket.socket) -> None:
        connection.recv(10)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\n{}")
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass

    assert post(serve, b"x" * 5_000_000) == Replied(413, b"{}", 2)


def test_a_refused_connection_tells_that_nothing_was_sent() -> None:
    with socket.socket() as deaf:
        deaf.bind(("127.0.0.1", 0))  # it has the port, which is so nobody else's, and does not listen
        with pytest.raises(ContainerError, match="no connection to the container at"):
            exchange.post(deaf.getsockname()[:2], "/run", b"{}", timeout_ms=60_000, max_reply_bytes=10)
