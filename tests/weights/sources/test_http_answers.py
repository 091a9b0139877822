"""What an HTTP server says of its bytes decides: used, tried again, or refused with the reason."""

from __future__ import annotations

import socket
from datetime import UTC, datetime
from email.message import Message

import pytest

from instar.errors import MissingError, SourceError, TransientError
from instar.weights import sources
from instar.weights.sources import answers
from instar.weights.sources.answers import Body, Version, interpret
from tests.weights.sources import servers
from tests.weights.sources.conftest import Serve, origin_of, read
from tests.weights.sources.servers import head

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def said(**headers: str) -> Message:
    message = Message()
    for name, value in headers.items():
        message[name.replace("_", "-")] = value
    return message


def test_a_part_is_used_if_it_is_the_one_that_was_asked_for() -> None:
    headers = said(Content_Range="bytes 5-9/100", ETag='"1"')
    assert interpret(206, headers, asked=(5, 10)) == Body(5, 10, Version('"1"', None, 100), False)
    shorter = said(Content_Range="bytes 5-7/*", Content_Length="3")
    assert interpret(206, shorter, asked=(5, 10)) == Body(5, 8, Version(None, None, None), False)


@pytest.mark.parametrize(
    ("headers", "reason"),
    [
        ({}, "not which"),
        ({"Content_Range": "bytes 5-9"}, "not which"),
        ({"Content_Range": "bytes 5-9/100, bytes 1-2/100"}, "not which"),
        ({"Content_Range": "items 5-9/100"}, "not which"),
        ({"Content_Type": "multipart/byteranges; boundary=x"}, "not which"),
        ({"Content_Range": "bytes 4-9/100"}, "was asked for bytes 5-9"),
        ({"Content_Range": "bytes 5-10/100"}, "was asked for bytes 5-9"),
        ({"Content_Range": "bytes 9-5/100"}, "was asked for bytes 5-9"),
        ({"Content_Range": "bytes 5-9/8"}, "was asked for bytes 5-9"),
        ({"Content_Range": "bytes 5-9/100", "Content_Length": "6"}, "in 6 bytes"),
        ({"Content_Range": "bytes 5-9/100", "Content_Length": "-5"}, "says that it has '-5' bytes"),
        ({"Content_Range": "bytes 5-9/100", "Content_Length": "5, 5"}, "says that it has"),
        ({"Content_Range": "bytes 5-9/100", "Content_Encoding": "gzip"}, "as 'gzip'"),
        ({"Content_Range": "bytes 5-9/100", "Transfer_Encoding": "gzip, chunked"}, "is not read"),
    ],
)
def test_a_part_that_lies_is_refused(headers: dict[str, str], reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        interpret(206, said(**headers), asked=(5, 10))
    assert not isinstance(caught.value, TransientError)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_a_server_in_trouble_is_worth_another_try(status: int) -> None:
    with pytest.raises(TransientError, match=str(status)):
        interpret(status, said(), asked=(0, 1))


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("7", 7.0), ("0", 0.0), ("Thu, 01 Jan 2026 12:00:30 GMT", 30.0), ("Thu, 01 Jan 2026 11:00:00 GMT", 0.0),
     ("99999999", answers.LONGEST_RETRY_AFTER_S), ("-1", None), ("soon", None), ("", None), ("9" * 40, None),
     ("Thu, 99 Jan 2026 12:00:30 GMT", None)],
)  # fmt: skip
def test_a_server_may_say_when_to_come_back(text: str, seconds: float | None) -> None:
    with pytest.raises(TransientError) as caught:
        interpret(429, said(Retry_After=text), asked=(0, 1), now=NOW)
    assert caught.value.retry_after_s == seconds


@pytest.mark.parametrize(
    ("status", "kind", "reason"),
    [(401, SourceError, "netrc"), (403, SourceError, "netrc"), (404, MissingError, "exists"),
     (410, MissingError, "exists"),
     (400, SourceError, "400"), (204, SourceError, "204"), (304, SourceError, "304"), (301, SourceError, "no other"),
     (416, SourceError, "416"), (101, SourceError, "101")],
)  # fmt: skip
def test_a_refusal_is_final(status: int, kind: type[SourceError], reason: str) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        interpret(status, said(), asked=(0, 1))
    assert type(caught.value) is kind


def test_a_range_beyond_the_end_says_how_long_the_file_is(serve: Serve) -> None:
    server = serve(servers.fixed(head(416, Content_Range="bytes */70", Content_Length=0)))
    with pytest.raises(SourceError, match="70 bytes, fewer than the 100 that were packed"):
        origin_of(server, 100).reader().seek(90, 10)


def test_trouble_passes(serve: Serve, data: bytes) -> None:
    trouble = head(500, Content_Length=0), head(429, Retry_After="3", Content_Length=0)
    good = servers.part(data, servers.Request("GET", "/", {"range": f"bytes=0-{len(data) - 1}"}, 1))
    reader = origin_of(serve(servers.fixed(*trouble, good)), len(data)).reader()
    waits = []
    for _ in trouble:
        with pytest.raises(TransientError) as caught:
            reader.seek(0, len(data))
        waits.append(caught.value.retry_after_s)
    assert waits == [None, 3.0]
    assert read(reader, 0, len(data)) == data
    reader.close()


def test_a_small_file_is_read_in_spite_of_trouble(serve: Serve) -> None:
    server = serve(servers.fixed(head(503, Content_Length=0), head(200, Content_Length=2) + b"{}"))
    assert sources.read(server.url(), limit_bytes=10, environ={}) == b"{}"
    assert len(server.requests) == 2 and "range" not in server.requests[0].headers


def test_a_small_file_that_is_not_there_is_not_tried_again(serve: Serve) -> None:
    server = serve(servers.fixed(head(404, Content_Length=0)))
    with pytest.raises(MissingError, match="404"):
        sources.read(server.url(), limit_bytes=10, environ={})
    assert len(server.requests) == 1


def test_a_server_may_send_less_than_it_was_asked_for(serve: Serve, data: bytes) -> None:
    def answer(request: servers.Request, connection: socket.socket) -> bool:
        assert request.range is not None
        begin, end = request.range
        shorter = servers.Request("GET", "/", {"range": f"bytes={begin}-{min(end, begin + 9_000) - 1}"}, 1)
        connection.sendall(servers.part(data, shorter))
        return True

    reader = origin_of(serve(answer), len(data)).reader()
    assert read(reader, 10, 50_000) == data[10:50_010]
    reader.close()
