"""kill -9 at any write loses nothing and shows nothing wrong.

The invariant, for each write of a fetch or an eviction: what the store shows afterwards is right; the next process
completes the file; what had arrived is not fetched again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
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
    pytest.mark.timeout(120),
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


def complete(root: Path, weights: Weights, location: Path) -> None:
    """What the next process does; nothing that was there comes from the source again."""
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


def killed_everywhere(tmp_path: Path, weights: Weights, location: Path, before: Callable[[Path], None],
                      doing: Callable[[Path], None]) -> Counter[str]:  # fmt: skip
    """Kill it at its first write, then at its second, and so on until it comes to its end; where it was killed."""
    killed: Counter[str] = Counter()
    for write in range(1, MOST):
        root = tmp_path / str(write)
        before(root)
        where = killing.run_to(write, lambda root=root: doing(root))  # type: ignore[misc]
        complete(root, weights, location)
        if where is None:
            return killed
        killed[where] += 1
    raise AssertionError(f"it makes more than {MOST} writes: {killed}")


def test_a_fetch(tmp_path: Path) -> None:
    location = tmp_path / "source"
    weights = made(location, 2 * CHUNK + 100)
    killed = killed_everywhere(
        tmp_path, weights, location, before=lambda root: None, doing=lambda root: fetch(root, weights, location)
    )
    assert killed["pwrite64"] == killed["pwrite64, made"] == 3, "each chunk is written once"
    assert {"fsync", "fchmod", "fallocate", "openat", "getppid"} <= set(killed)


def test_a_fetch_where_an_older_map_was_left_behind(tmp_path: Path) -> None:
    """A file had its place, its map was not removed yet, the file was evicted: the map says that all is there."""
    location = tmp_path / "source"
    weights = made(location, 2 * CHUNK + 100)

    def leave_a_map(root: Path) -> None:
        store = Store(root)
        partial = store.partial(weights)
        assert partial is not None
        for chunk in range(len(weights.chunks)):
            partial.map.mark(chunk)
        partial.close()
        store.incoming(weights.digest).unlink()

    killed = killed_everywhere(
        tmp_path, weights, location, before=leave_a_map, doing=lambda root: fetch(root, weights, location)
    )
    assert killed["pwrite64"] == 3


def test_an_eviction(tmp_path: Path) -> None:
    location = tmp_path / "source"
    weights = made(location, 2 * CHUNK + 100)
    killed = killed_everywhere(
        tmp_path,
        weights,
        location,
        before=lambda root: fetch(root, weights, location),
        doing=lambda root: keeping.reduce(Store(root), 0),  # type: ignore[arg-type, return-value]
    )
    assert sum(killed.values()) >= 3
