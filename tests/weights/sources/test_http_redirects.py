"""A URL may lead elsewhere: so far, not around in circles, and never to what is not HTTP."""

from __future__ import annotations

import socket

import pytest

from instar.errors import MissingError, SourceError, TransientError
from tests.weights.sources import servers
from tests.weights.sources.conftest import Serve, origin_of, read
from tests.weights.sources.servers import Answer, Request, head, part


def hops(data: bytes, count: int, status: int = 302) -> Answer:
    """/0 leads to /1, and so on; the last has the data."""

    def answer(request: Request, connection: socket.socket) -> bool:
        number = int(request.path.strip("/"))
        if number == count:
            connection.sendall(part(data, request))
        else:
            connection.sendall(head(status, Location=f"/{number + 1}", Content_Length=4) + b"body")
        return True

    return answer


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed_once_for_all(serve: Serve, data: bytes, status: int) -> None:
    server = serve(hops(data, 5, status))
    reader = origin_of(server, len(data), "/0").reader()
    assert read(reader, 0, 100) + read(reader, 200, 100) == data[:100] + data[200:300]
    reader.close()
    assert [request.path for request in server.requests] == ["/0", "/1", "/2", "/3", "/4", "/5", "/5"]
    assert {request.connection for request in server.requests} == {1}


@pytest.mark.parametrize("count", [6, 10**9])
def test_too_many_redirects_are_final(serve: Serve, data: bytes, count: int) -> None:
    with pytest.raises(SourceError, match="more than 5 times") as caught:
        origin_of(serve(hops(data, count)), len(data), "/0").reader().seek(0, 1)
    assert not isinstance(caught.value, TransientError)


@pytest.mark.parametrize(
    "target",
    [
        "file:///etc/passwd",
        "ftp://host/x",
        "http://user:secret@host/x",
        "http://[x",
        "http://",
        "x\x00y",
        "memory://x",
    ],
)
def test_what_is_no_place_for_a_redirect_is_final(serve: Serve, target: str) -> None:
    server = serve(servers.fixed(head(302, Location=target, Content_Length=0)))
    with pytest.raises(SourceError, match="redirected") as caught:
        origin_of(server, 100).reader().seek(0, 1)
    assert not isinstance(caught.value, TransientError) and "secret" not in str(caught.value)


def test_a_place_that_was_good_for_a_while_is_asked_for_again(serve: Serve, data: bytes) -> None:
    """As the signed URLs are that object stores redirect to."""
    current = ["/first"]

    def answer(request: Request, connection: socket.socket) -> bool:
        if request.path == "/file":
            connection.sendall(head(302, Location=current[0], Content_Length=0))
        elif request.path == current[0]:
            connection.sendall(part(data, request, ETag='"1"'))
        else:
            connection.sendall(head(403, Content_Length=0))
        return True

    server = serve(answer)
    reader = origin_of(server, len(data)).reader()
    assert read(reader, 0, 10) == data[:10]
    current[0] = "/second"
    assert read(reader, 50, 10) == data[50:60]
    current[0] = "/nowhere/else"
    assert [request.path for request in server.requests] == ["/file", "/first", "/first", "/file", "/second"]
    reader.close()


def test_a_redirect_to_nothing_is_final(serve: Serve) -> None:
    def answer(request: Request, connection: socket.socket) -> bool:
        found = request.path == "/file"
        connection.sendall(head(302 if found else 404, Location="/gone", Content_Length=0))
        return True

    with pytest.raises(MissingError, match="404"):
        origin_of(serve(answer), 100).reader().seek(0, 1)
