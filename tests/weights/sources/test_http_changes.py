"""Invariant: a transfer never mixes two contents of one URL, and says so when it would have to."""

from __future__ import annotations

import socket

import pytest

from instar.errors import SourceError, TransientError
from tests.weights.sources import servers
from tests.weights.sources.conftest import Serve, origin_of, read
from tests.weights.sources.servers import Answer, Request, head, part

OLD, NEW = b"o" * 100, b"n" * 100


def after(count: int, first: Answer, then: Answer) -> Answer:
    """`first` answers so many requests, `then` the others."""
    seen: list[Request] = []

    def answer(request: Request, connection: socket.socket) -> bool:
        seen.append(request)
        return (first if len(seen) <= count else then)(request, connection)

    return answer


CHANGES = {
    "another ETag": (servers.ranges(OLD, ETag='"1"'), servers.ranges(NEW, ETag='"2"')),
    "another weak ETag": (servers.ranges(OLD, ETag='W/"1"'), servers.ranges(NEW, ETag='W/"2"')),
    "another date": (
        servers.ranges(OLD, Last_Modified="Thu, 01 Jan 2026 12:00:30 GMT"),
        servers.ranges(NEW, Last_Modified="Thu, 01 Jan 2026 12:00:31 GMT"),
    ),
    "another size": (servers.ranges(OLD), servers.ranges(NEW + b"n")),
    "everything, for it is not what was asked for": (
        servers.ranges(OLD, ETag='"1"'),
        servers.no_ranges(NEW, ETag='"2"'),
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_in_the_middle_is_final(serve: Serve, change: str) -> None:
    origin = origin_of(serve(after(2, *CHANGES[change])), len(OLD))
    reader, other = origin.reader(), origin.reader()
    assert read(reader, 0, 50) == OLD[:50] and read(other, 50, 10) == OLD[50:60]
    for late in (reader, other):
        with pytest.raises(SourceError, match="changed on the server while it was read") as caught:
            late.seek(60, 40)
        assert not isinstance(caught.value, TransientError)
        late.close()


def test_mirrors_with_one_etag_may_have_several_dates(serve: Serve) -> None:
    first, then = (servers.ranges(OLD, ETag='"1"', Last_Modified=date) for date in ("one", "two"))
    reader = origin_of(serve(after(1, first, then)), len(OLD)).reader()
    assert read(reader, 0, 50) + read(reader, 50, 50) == OLD
    reader.close()


@pytest.mark.parametrize("make", [servers.ranges, servers.no_ranges, servers.chunked])
@pytest.mark.parametrize(("nbytes", "reason"), [(99, "more than the 99"), (101, "fewer than the 101")])
def test_another_size_than_was_packed_is_final(serve: Serve, make: object, nbytes: int, reason: str) -> None:
    assert callable(make)
    reader = origin_of(serve(make(OLD)), nbytes).reader()
    with pytest.raises(SourceError, match=reason) as caught:
        read(reader, 0, nbytes)
    assert not isinstance(caught.value, TransientError)
    reader.close()


def test_a_server_that_stops_to_know_ranges_is_read_in_order(serve: Serve, data: bytes) -> None:
    server = serve(after(1, servers.ranges(data, ETag='"1"'), servers.no_ranges(data, ETag='"1"')))
    origin = origin_of(server, len(data))
    reader = origin.reader()
    assert read(reader, 0, 100) == data[:100] and not origin.in_order
    assert read(reader, 5000, 100) == data[5000:5100] and origin.in_order
    reader.close()


def test_a_length_that_lies_is_never_the_files(serve: Serve) -> None:
    """A body shorter than its head says ends the connection; a longer one is the next answer's nonsense."""
    short = head(206, Content_Range="bytes 0-99/100", Content_Length=100) + OLD[:60]
    reader = origin_of(serve(servers.fixed(short)), 100).reader()
    with pytest.raises(TransientError, match="ended after 60 bytes"):
        read(reader, 0, 100)

    def answer(request: Request, connection: socket.socket) -> bool:
        connection.sendall(part(OLD, request) + b"and more" * 10_000)
        return True

    reader = origin_of(serve(answer), 100).reader()
    assert read(reader, 0, 50) == OLD[:50]
    with pytest.raises(TransientError, match="no HTTP"):
        reader.seek(50, 50)
    assert read(reader, 50, 50) == OLD[50:]
    reader.close()
