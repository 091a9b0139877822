"""A reader keeps its connection, asks no more than it has to, and lets go of everything when it is closed."""

from __future__ import annotations

import gc
import os
import socket
import threading
import time

import pytest

from instar.errors import TransientError
from instar.weights import sources
from instar.weights.sources import Limits
from tests.weights.sources import servers
from tests.weights.sources.conftest import LONG, Serve, origin_of, read
from tests.weights.sources.servers import Request, head, part


def test_a_connection_is_kept(serve: Serve, data: bytes) -> None:
    server = serve(servers.ranges(data))
    reader = origin_of(server, len(data)).reader()
    for begin in (0, 10_000, 5_000, 90_000):
        assert read(reader, begin, 10_000) == data[begin : begin + 10_000]
    reader.close()
    assert [request.connection for request in server.requests] == [1, 1, 1, 1]
    asked = server.requests[0].headers
    assert (asked["accept-encoding"], asked["host"]) == ("identity", f"127.0.0.1:{server.port}")


def test_what_follows_in_an_open_answer_is_not_asked_for_again(serve: Serve, data: bytes) -> None:
    server = serve(servers.ranges(data))
    reader = origin_of(server, len(data)).reader()
    reader.seek(0, 60_000)
    found = memoryview(bytearray(20_000))
    for begin in (0, 20_000, 40_000):
        reader.seek(begin, 20_000)
        reader.read(found)
        assert found == data[begin : begin + 20_000]
    reader.close()
    assert len(server.requests) == 1


def test_what_is_read_in_order_is_asked_for_once(serve: Serve, data: bytes) -> None:
    server = serve(servers.no_ranges(data))
    reader = origin_of(server, len(data)).reader()
    for begin in (0, 1_000, 50_000, 99_000):
        assert read(reader, begin, 500) == data[begin : begin + 500]
    reader.close()
    assert len(server.requests) == 1


def test_little_that_is_left_of_an_answer_is_read_to_keep_the_connection(serve: Serve) -> None:
    data = os.urandom(2_000_000)
    server = serve(servers.ranges(data))
    reader = origin_of(server, len(data)).reader()
    for nbytes in (100_000, 1_900_000, 10):
        reader.seek(0, nbytes)
        reader.read(memoryview(bytearray(5)))
        reader.seek(7, 5)
    reader.close()
    assert [request.connection for request in server.requests] == [1, 1, 1, 2, 2, 2]


def test_a_server_that_ends_idle_connections_is_no_failure(serve: Serve, data: bytes) -> None:
    idle = threading.Semaphore(0)

    def answer(request: Request, connection: socket.socket) -> bool:
        connection.sendall(part(data, request))
        connection.shutdown(socket.SHUT_RDWR)
        idle.release()
        return False

    server = serve(answer)
    reader = origin_of(server, len(data)).reader()
    for number in range(5):
        assert read(reader, number, 10) == data[number : number + 10]
        assert idle.acquire(timeout=60)
    reader.close()
    assert len(server.requests) == 5


@pytest.mark.parametrize("sent", [0, 1, 50_000])
def test_another_thread_may_break_off_a_read(serve: Serve, data: bytes, sent: int) -> None:
    waiting = threading.Event()

    def answer(request: Request, connection: socket.socket) -> bool:
        connection.sendall((head(200, Content_Length=len(data)) + data)[:sent])
        waiting.set()
        server.over.wait()
        return False

    server = serve(answer)
    patient = Limits(stall_s=600.0)  # by itself it would not end
    reader = sources.origin(server.url(), nbytes=len(data), environ={}, limits=patient).reader()
    errors: list[BaseException] = []

    def work() -> None:
        try:
            read(reader, 0, len(data))
        except TransientError as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert waiting.wait(60)
    reader.close()
    thread.join(60)
    assert len(errors) == 1
    with pytest.raises(TransientError, match="broken off"):
        reader.seek(0, 1)


def test_nothing_is_left_open(serve: Serve, data: bytes) -> None:
    servers_ = [serve(make(data)) for make in (servers.ranges, servers.no_ranges, servers.until_the_end)]
    broken = serve(servers.fixed(b"nonsense\r\n"))
    gc.collect()  # what earlier tests have left
    before = len(os.listdir("/proc/self/fd"))

    def use() -> None:
        for server in servers_:
            reader = sources.origin(server.url(), nbytes=len(data), environ={}, limits=LONG).reader()
            read(reader, 0, 100)
            read(reader, 50_000, 100)
            reader.close()
            reader.close()
        with pytest.raises(TransientError):
            origin_of(broken, len(data)).reader().seek(0, 1)

    def settled() -> int:
        """Open descriptors once the servers' ends have noticed, too."""
        deadline_s = time.monotonic() + 60
        while (found := len(os.listdir("/proc/self/fd"))) > before and time.monotonic() < deadline_s:
            threading.Event().wait(0.01)
        return found

    for _ in range(3):
        use()
    assert settled() <= before
