"""kill -9 at any write loses nothing and shows nothing wrong.

The invariant, for each write of a fetch or an eviction: what the store shows afterwards is right; the next process
completes the file; what had arrived is not fetched again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from instar.weights import keeping
from instar.weights.fetch import Fetcher
from instar.weights.manifest import Span, Weights, pack_spans
from instar.weights.store import Store
from tests.weights import killing
from tests.weights.files import CHUNK, arrived, leftovers, made, nbytes_of, read

pytestmark = [
    pytest.mark.system,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not killing.WRITES, reason="the numbers of this machine's system calls are not written down"),
]

SPANS = pack_spans([Span(64, CHUNK, b"d" * 32)])
MOST = 300  # writes; a fetch of three chunks makes fewer


def fetch(root: Path, weights: Weights, location: Path) -> None:
    fetcher = Fetcher(Store(root), readers=1)
    arrival = fetcher.begin(weights, location, spans=SPANS)
    arrival.wait_all()
    fetcher.settle()
    arrival.close()
    fetcher.close()


def begin(root: Path, weights: Weights, location: Path) -> None:
    """Two of the chunks arrive, then it is given up."""
    store = Store(root)
    file = store.partial(weights)
    assert file is not None
    data = memoryview(location.read_bytes())
    for chunk in (0, 1):
        file.write(chunk * CHUNK, data[chunk * CHUNK : (chunk + 1) * CHUNK])
        file.map.mark(chunk)
    file.close()


def complete(root: Path, weights: Weights, location: Path) -> int:
    """What the next process does; nothing that is shown comes from the source again. How many chunks were shown."""
    store = Store(root)
    shown = arrived(store, weights)
    fetcher = Fetcher(store)
    arrival = fetcher.begin(weights, location, spans=SPANS)
    arrival.wait_all()
    assert arrival.present_bytes == nbytes_of(weights, shown)
    assert arrival.fetched_bytes == weights.size - arrival.present_bytes
    fetcher.settle()
    arrival.close()
    fetcher.close()
    assert read(store.place(weights.digest)) == weights.chunks
    assert store.place(weights.digest).with_suffix(".spans").read_bytes() == SPANS
    keeping.reduce(store, 10 * weights.size)
    assert leftovers(store) == []
    assert all(finding.is_right for finding in keeping.verify(store))
    return len(shown)


@dataclass
class Killed:
    """At which writes it was killed, how many chunks were shown after each, and all writes of the one that was not.

    Of two threads that write, either may be first, and another one the next time: so what is counted are the writes
    of one run, and a chunk may be shown one write earlier or later.
    """

    at: list[str] = field(default_factory=list)
    shown: list[int] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)


def killed_everywhere(
    tmp_path: Path, weights: Weights, before: Callable[[Path], object], doing: Callable[[Path], object]
) -> Killed:
    """Kill it at its first write, then at its second, and so on until it comes to its end."""
    killed = Killed()
    for write in range(1, MOST):
        root = tmp_path / str(write)
        before(root)
        made, was_killed = killing.run_to(write, partial(doing, root))
        shown = complete(root, weights, tmp_path / "source")
        if not was_killed:
            killed.writes = made
            return killed
        killed.at.append(made[-1])
        killed.shown.append(shown)
    raise AssertionError(f"it makes more than {MOST} writes: {killed}")


@pytest.fixture
def weights(tmp_path: Path) -> Weights:
    return made(tmp_path / "source", 2 * CHUNK + 100)


def test_a_fetch(tmp_path: Path, weights: Weights) -> None:
    location = tmp_path / "source"
    killed = killed_everywhere(
        tmp_path, weights, before=lambda root: None, doing=lambda root: fetch(root, weights, location)
    )
    assert killed.writes.count("pwrite64") == killed.writes.count("pwrite64, made") == 3, "each chunk is written once"
    assert {"pwrite64", "pwrite64, made", "fsync", "fchmod", "fallocate", "openat", "getppid"} <= set(killed.at)
    assert all(now >= before - 1 for before, now in pairwise(killed.shown)), "what had arrived stays"
    assert killed.shown[-1] == 3


def test_a_fetch_that_another_process_had_begun(tmp_path: Path, weights: Weights) -> None:
    location = tmp_path / "source"
    killed = killed_everywhere(
        tmp_path,
        weights,
        before=lambda root: begin(root, weights, location),
        doing=lambda root: fetch(root, weights, location),
    )
    assert killed.writes.count("pwrite64") == 1
    assert min(killed.shown) == 2


def test_a_fetch_where_an_older_map_was_left_behind(tmp_path: Path, weights: Weights) -> None:
    """A file had its place, its map was not removed yet, the file was evicted: the map says that all is there."""
    location = tmp_path / "source"

    def leave_a_map(root: Path) -> None:
        store = Store(root)
        file = store.partial(weights)
        assert file is not None
        for chunk in range(len(weights.chunks)):
            file.map.mark(chunk)
        file.close()
        store.incoming(weights.digest).unlink()

    killed = killed_everywhere(
        tmp_path, weights, before=leave_a_map, doing=lambda root: fetch(root, weights, location)
    )
    assert killed.writes.count("pwrite64") == 3


def test_an_eviction_of_a_whole_file(tmp_path: Path, weights: Weights) -> None:
    location = tmp_path / "source"
    killed = killed_everywhere(
        tmp_path,
        weights,
        before=lambda root: fetch(root, weights, location),
        doing=lambda root: keeping.reduce(Store(root), 0),
    )
    assert killed.at.count("unlink") == 3
    assert set(killed.shown) == {3, 0}


def test_an_eviction_of_a_file_that_nobody_fetches(tmp_path: Path, weights: Weights) -> None:
    location = tmp_path / "source"
    killed = killed_everywhere(
        tmp_path,
        weights,
        before=lambda root: begin(root, weights, location),
        doing=lambda root: keeping.reduce(Store(root), 0),
    )
    assert killed.at.count("unlink") == 4, "map, file, digests, and tensors that it has none of"
    assert set(killed.shown) == {2, 0}
