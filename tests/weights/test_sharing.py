"""Whoever on a node wants the same file shares one transfer, and goes on with it if its owner is killed."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from instar.weights import fetch
from instar.weights.fetch import READERS, Fetcher
from instar.weights.store import Store
from tests.runtime.source import PIECE_BYTES, Source, serving
from tests.weights.fetching import fetching, line
from tests.weights.files import made, read

NBYTES = 3_000_000
CHUNK = 64 * 1024
PLACE_S = 3.0  # longer than the test takes to look, also on a machine that stands still for a moment


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    folder = tmp_path / "source"
    folder.mkdir()
    with serving(folder) as source:
        yield source


def test_arrivals_of_one_process_share_a_transfer(tmp_path: Path, source: Source) -> None:
    weights = made(source.folder / "w", NBYTES, chunk_bytes=CHUNK)
    fetcher = Fetcher(Store(tmp_path / "store"))
    arrivals = [fetcher.begin(weights, f"{source.url}/w") for _ in range(5)]
    for arrival in arrivals:
        arrival.wait_all()
        arrival.close()
    fetcher.settle()
    fetcher.close()
    assert source.given_bytes == weights.size


def test_a_file_that_has_not_got_its_place_yet_is_used_as_it_is(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It gets its place a moment after its last chunk, by itself; who begins before has it whole, and at once."""
    monkeypatch.setattr(fetch, "PLACE_S", PLACE_S)
    weights = made(source.folder / "w", NBYTES, chunk_bytes=CHUNK)
    store = Store(tmp_path / "store")
    fetcher, other = Fetcher(store), Fetcher(store)
    first = fetcher.begin(weights, f"{source.url}/w")
    first.wait_all()
    assert store.whole(weights) is None
    for second in (fetcher.begin(weights, f"{source.url}/w"), other.begin(weights, f"{source.url}/w")):
        assert second.is_whole
        assert second.fetched_bytes == 0
        second.close()
    deadline_s = time.monotonic() + 60
    while (whole := store.whole(weights)) is None:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)
    os.close(whole.descriptor)
    assert read(store.place(weights.digest), CHUNK) == weights.chunks
    assert source.given_bytes == weights.size
    first.close()
    for each in (fetcher, other):
        each.settle()
        each.close()


@pytest.mark.system
def test_processes_share_a_transfer(tmp_path: Path, source: Source) -> None:
    weights = made(source.folder / "w", NBYTES, chunk_bytes=CHUNK)
    root = tmp_path / "store"
    source.hold("w", NBYTES // 2)
    with ExitStack() as stack:
        others = [stack.enter_context(fetching(root, f"{source.url}/w", weights)) for _ in range(3)]
        assert [line(other) for other in others] == ["begun"] * 3
        source.await_asked("w")
        fetcher = Fetcher(Store(root))
        arrival = fetcher.begin(weights, f"{source.url}/w")
        source.release("w")
        arrival.wait_all()
        assert [line(other).split()[0] for other in others] == ["whole"] * 3
        fetcher.settle()
        arrival.close()
        fetcher.close()
    assert source.given_bytes == weights.size


@pytest.mark.system
def test_another_process_goes_on_when_the_one_that_fetches_is_killed(tmp_path: Path, source: Source) -> None:
    weights = made(source.folder / "w", NBYTES, chunk_bytes=CHUNK)
    store = Store(tmp_path / "store")
    held_from = 30 * CHUNK
    source.hold("w", held_from)
    with fetching(store.root, f"{source.url}/w", weights) as owner:
        assert line(owner) == "begun"
        source.await_asked("w")
        fetcher = Fetcher(store)
        arrival = fetcher.begin(weights, f"{source.url}/w")
        arrival.wait(0, 29)
        assert source.given_bytes == held_from
        os.kill(owner.pid, signal.SIGKILL)
        owner.wait()
    source.release("w")
    arrival.wait_all()
    fetcher.settle()
    arrival.close()
    fetcher.close()
    assert read(store.place(weights.digest), CHUNK) == weights.chunks
    # To each reader of the killed one the server gives a piece before it sees that nobody is there, and the next.
    assert source.given_bytes - weights.size <= 2 * READERS * PIECE_BYTES < held_from, "what had arrived stayed"
