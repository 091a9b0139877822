"""Invariant: whatever a source is, a read gives the file's bytes at the place that was sought, in any order."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import fsspec
import pytest

from instar.errors import SourceError
from instar.weights import sources
from instar.weights.sources import Origin
from tests.weights.sources import servers
from tests.weights.sources.conftest import LONG, SEED, read
from tests.weights.sources.file_systems import InOrder, Late, Opens, registered

HTTP = {
    "http with ranges": (lambda data: servers.ranges(data, ETag='"1"'), False),
    "http with a weak ETag": (lambda data: servers.ranges(data, ETag='W/"1"'), False),
    "http without ranges": (servers.no_ranges, True),
    "http in chunks": (servers.chunked, True),
    "http until the end": (servers.until_the_end, True),
}
PLACES = [*HTTP, "path", "file url", "memory", "only opened", "opened, in order", "asynchronous"]


@pytest.fixture(params=PLACES)
def place(request: pytest.FixtureRequest, data: bytes, tmp_path: Path) -> Iterator[tuple[Origin, bool]]:
    """An origin with `data`, and whether it can only be read in order."""
    with ExitStack() as stack:
        in_order = False
        location: str | Path
        match request.param:
            case "path":
                location = tmp_path / "a file"
                location.write_bytes(data)
            case "file url":
                (tmp_path / "a file").write_bytes(data)
                location = (tmp_path / "a file").as_uri()
            case "memory":
                location = f"memory://{tmp_path.name}/a file"
                fsspec.filesystem("memory").pipe(location, data)
                stack.callback(fsspec.filesystem("memory").rm, location)
            case "only opened" | "opened, in order" | "asynchronous":
                system = {"only opened": Opens, "opened, in order": InOrder}.get(request.param, Late)
                stack.enter_context(registered(system))
                system.files["file"] = data
                location, in_order = f"{system.protocol}://file", system is InOrder
            case name:
                make, in_order = HTTP[name]
                location = stack.enter_context(servers.Server(make(data))).url()
        yield sources.origin(location, nbytes=len(data), environ={}, limits=LONG), in_order


def test_any_order_gives_the_bytes_of_their_place(place: tuple[Origin, bool], data: bytes) -> None:
    print("seed", SEED)
    generator = random.Random(SEED)
    origin, in_order = place
    reader = origin.reader()
    try:
        for _ in range(25):
            begin = generator.randrange(len(data))
            nbytes = generator.randrange(1, len(data) - begin + 1)
            assert read(reader, begin, nbytes) == data[begin : begin + nbytes]
        assert (origin.in_order, origin.nbytes) in ((in_order, len(data)), (in_order, None))
    finally:
        reader.close()


def test_a_place_is_read_in_pieces(place: tuple[Origin, bool], data: bytes) -> None:
    reader = place[0].reader()
    try:
        reader.seek(100, 90_000)
        found = memoryview(bytearray(90_000))
        for begin in range(0, 90_000, 12_345):
            reader.read(found[begin : begin + 12_345])
        assert found == data[100:90_100]
    finally:
        reader.close()


def test_threads_share_an_origin(place: tuple[Origin, bool], data: bytes) -> None:
    found: dict[int, bytes] = {}

    def work(begin: int) -> None:
        reader = place[0].reader()
        try:
            found[begin] = read(reader, begin, 30_000)
        finally:
            reader.close()

    threads = [threading.Thread(target=work, args=(begin,)) for begin in (0, 30_000, 60_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == {begin: data[begin : begin + 30_000] for begin in (0, 30_000, 60_000)}


def test_a_small_file_is_read_whole(place: tuple[Origin, bool], data: bytes) -> None:
    with closing(place[0].reader()) as reader:
        assert reader.whole(len(data)) == data


def test_a_file_that_is_too_long_is_not_read_whole(place: tuple[Origin, bool], data: bytes) -> None:
    with closing(place[0].reader()) as reader, pytest.raises(SourceError, match=r"more than|at most"):
        reader.whole(len(data) - 1)
