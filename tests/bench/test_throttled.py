"""The throttled source gives the bytes of its files, and never faster than it should."""

from __future__ import annotations

import contextlib
import http.client
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message

import pytest

from tests.bench import throttled
from tests.bench.throttled import Pace

SIZE = 3_000_000


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return os.urandom(SIZE)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> Iterator[throttled.Source]:
    folder = tmp_path_factory.mktemp("served")
    (folder / "w").write_bytes(content)
    with throttled.serving(folder) as source:
        yield source


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Message
    body: bytes


def ask(source: throttled.Source, path: str = "/w", **headers: str) -> Answer:
    with contextlib.closing(http.client.HTTPConnection(*source.address)) as connection:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        with connection.getresponse() as response:
            return Answer(response.status, response.headers, response.read())


@pytest.mark.system
@pytest.mark.parametrize(
    ("span", "begin", "end"), [("5-9", 5, 10), ("2999990-", 2999990, SIZE), ("-7", SIZE - 7, SIZE)]
)
def test_a_range_is_that_part_of_the_file(
    source: throttled.Source, content: bytes, span: str, begin: int, end: int
) -> None:
    response = ask(source, Range=f"bytes={span}")
    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes {begin}-{end - 1}/{SIZE}"
    assert response.body == content[begin:end]


@pytest.mark.system
def test_what_is_not_there_is_said_so(source: throttled.Source) -> None:
    assert ask(source, "/none").status == 404
    assert ask(source, "/../" + __file__).status == 404
    assert ask(source, Range=f"bytes={SIZE}-").status == 416


@pytest.mark.system
def test_a_file_of_another_tag_is_refused_or_given_whole(source: throttled.Source) -> None:
    tag = ask(source, Range="bytes=0-0").headers["ETag"]
    assert tag
    assert ask(source, Range="bytes=0-0", If_Match=tag).status == 206
    assert ask(source, Range="bytes=0-0", If_Match='"another"').status == 412
    assert ask(source, Range="bytes=0-0", If_Range='"another"').status == 200


@pytest.mark.system
def test_all_connections_together_get_the_bandwidth(source: throttled.Source, content: bytes) -> None:
    source.sent()
    source.set_rate(20e6)
    found: list[bytes] = []
    clients = [threading.Thread(target=lambda: found.append(ask(source).body)) for _ in range(2)]
    begin = time.perf_counter()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    taken = time.perf_counter() - begin
    source.set_rate(1e12)
    assert found == [content, content]
    assert taken >= 2 * SIZE / 20e6
    sent = source.sent()
    assert sum(piece.nbytes for piece in sent) == 2 * SIZE
    assert len({piece.connection for piece in sent}) == 2


def test_a_piece_has_passed_when_its_time_has() -> None:
    pace = Pace(1000)
    pace.begin(10.0)
    assert pace.due(500) == 10.5
    pace.spend(500, 10.5)
    assert pace.due(500) == 11.0


def test_an_idle_link_saves_nothing_up() -> None:
    pace = Pace(1000)
    pace.begin(10.0)
    pace.spend(500, 10.5)
    pace.begin(20.0)
    assert pace.due(100) == 20.1


def test_a_server_that_was_kept_waiting_catches_up_a_moment_at_most() -> None:
    pace = Pace(1000)
    pace.begin(10.0)
    pace.spend(100, 15.0)
    assert pace.due(100) == pytest.approx(15.0 - throttled.CAUGHT_UP_S + 0.1)
