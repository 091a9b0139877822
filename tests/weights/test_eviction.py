"""A store stays within its size; what is mapped, pinned or arriving stays, whatever else has to go."""

from __future__ import annotations

import mmap
import os
import threading
from pathlib import Path

import pytest

from instar.errors import SourceError
from instar.weights import keeping
from instar.weights.budget import Standing
from instar.weights.fetch import Fetcher
from instar.weights.manifest import Weights
from instar.weights.store import Store
from instar.weights.transfer import Run
from tests.weights.files import CHUNK, arrived, made, read

NBYTES = 300 * 1024


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def bring(store: Store, folder: Path, seed: int, environ: dict[str, str] | None = None) -> Weights:
    """Have a file of its own in the store; nobody uses it afterwards."""
    weights = made(folder / f"source{seed}", NBYTES, seed=seed)
    fetcher = Fetcher(store, environ=environ or {})
    arrival = fetcher.begin(weights, folder / f"source{seed}")
    arrival.wait_all()
    fetcher.settle()
    arrival.close()
    fetcher.close()
    os.utime(store.place(weights.digest), (seed, seed))
    return weights


def standings(store: Store) -> dict[str, Standing]:
    return {entry.digest: entry.standing for entry in keeping.entries(store)}


def test_what_has_settled_is_held_by_nobody(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that brought the last chunk may come to its end after the file has its place."""
    weights = made(tmp_path / "source", NBYTES)
    fetcher = Fetcher(store)
    arrived = fetcher.arrived

    def late(run: Run) -> None:
        is_last = run.transfer.partial.map.has(0, len(weights.chunks) - 1)
        arrived(run)
        if is_last:
            threading.Event().wait(0.5)

    monkeypatch.setattr(fetcher, "arrived", late)
    arrival = fetcher.begin(weights, tmp_path / "source")
    arrival.wait_all()
    arrival.close()
    fetcher.settle()
    assert standings(store) == {weights.digest: Standing.IDLE}
    fetcher.close()


def test_the_least_recently_used_goes_when_there_is_no_room(store: Store, tmp_path: Path) -> None:
    size = {"INSTAR_STORE_MIB": "1"}
    kept = [bring(store, tmp_path, seed, size) for seed in (3, 1, 2, 4)]
    assert standings(store) == {weights.digest: Standing.IDLE for weights in kept if weights is not kept[1]}


def test_what_is_mapped_is_never_evicted(store: Store, tmp_path: Path) -> None:
    weights = bring(store, tmp_path, 1)
    fetcher = Fetcher(store)
    arrival = fetcher.begin(weights, tmp_path / "source1")
    mapping = mmap.mmap(arrival.descriptor, weights.size, mmap.MAP_SHARED, mmap.PROT_READ)
    assert standings(store) == {weights.digest: Standing.IN_USE}
    assert keeping.reduce(store, 0) == []
    arrival.close()
    fetcher.close()
    mapping.close()
    assert [entry.digest for entry in keeping.reduce(store, 0)] == [weights.digest]
    assert standings(store) == {}


def test_what_was_mapped_while_it_arrived_is_never_evicted(store: Store, tmp_path: Path) -> None:
    """The file changes its place; who opened it before keeps it all the same."""
    weights = made(tmp_path / "source", NBYTES)
    fetcher = Fetcher(store)
    arrival = fetcher.begin(weights, tmp_path / "source")
    arrival.wait_all()
    fetcher.settle()
    assert standings(store) == {weights.digest: Standing.IN_USE}
    assert keeping.reduce(store, 0) == []
    arrival.close()
    fetcher.close()


def test_what_is_pinned_is_never_evicted(store: Store, tmp_path: Path) -> None:
    weights, other = bring(store, tmp_path, 1), bring(store, tmp_path, 2)
    keeping.pin(store, weights.digest[:8])
    assert [entry.digest for entry in keeping.reduce(store, 0)] == [other.digest]
    keeping.unpin(store, weights.digest[:8])
    assert [entry.digest for entry in keeping.reduce(store, 0)] == [weights.digest]


def test_what_arrives_is_never_evicted_and_goes_once_nobody_fetches_it(store: Store, tmp_path: Path) -> None:
    weights = made(tmp_path / "source", NBYTES)
    partial = store.partial(weights)
    assert partial is not None and partial.map.try_own()
    assert standings(store) == {weights.digest: Standing.ARRIVING}
    assert keeping.reduce(store, 0) == []
    partial.close()
    assert standings(store) == {weights.digest: Standing.STALE}
    assert [entry.digest for entry in keeping.reduce(store, 0)] == [weights.digest]
    assert arrived(store, weights) == set()


def test_weights_that_do_not_fit_beside_what_is_used_are_refused_and_nothing_goes(
    store: Store, tmp_path: Path
) -> None:
    kept = [bring(store, tmp_path, seed) for seed in (1, 2, 3)]
    keeping.pin(store, kept[0].digest)
    keeping.pin(store, kept[1].digest)
    large = made(tmp_path / "large", 3 * NBYTES, seed=9)
    fetcher = Fetcher(store, environ={"INSTAR_STORE_MIB": "1"})
    with pytest.raises(SourceError, match=r"do not fit into the store: of 1\.0 MiB, 0\.6 MiB pinned; unpin"):
        fetcher.begin(large, tmp_path / "large")
    fetcher.close()
    assert set(standings(store)) == {weights.digest for weights in kept}


@pytest.mark.parametrize("said", ["", "many", "-1", "1.5"])
def test_a_size_that_is_no_number_is_refused(store: Store, tmp_path: Path, said: str) -> None:
    bring(store, tmp_path, 1)
    with pytest.raises(SourceError, match="INSTAR_STORE_MIB is"):
        keeping.limit(store, 0, {"INSTAR_STORE_MIB": said})


def test_an_evicted_file_is_fetched_again(store: Store, tmp_path: Path) -> None:
    weights = bring(store, tmp_path, 1)
    keeping.reduce(store, 0)
    assert arrived(store, weights) == set()
    bring(store, tmp_path, 1)
    assert read(store.place(weights.digest), CHUNK) == weights.chunks
