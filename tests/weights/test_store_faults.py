"""A store that may only be read, a machine that lost its power, a disk that is full: followed, found, and said."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from instar.errors import ReadOnlyError, SourceError
from instar.weights import chunkmap, keeping
from instar.weights.fetch import Fetcher
from instar.weights.manifest import Weights
from instar.weights.store import Store
from tests.runtime.source import Source, serving
from tests.weights.files import CHUNK, arrived, made, read

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can mount")


@contextmanager
def mounted(at: Path, *options: str) -> Iterator[Path]:
    at.mkdir()
    subprocess.run(["mount", *options, str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", "--lazy", str(at)], check=True)  # a thread may be about to end


@contextmanager
def read_only(root: Path, at: Path) -> Iterator[Path]:
    with mounted(at, "--bind", str(root)):
        subprocess.run(["mount", "-o", "remount,ro,bind", str(at)], check=True)
        yield at


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    folder = tmp_path / "source"
    folder.mkdir()
    with serving(folder) as source:
        yield source


@pytest.mark.system
@needs_root
def test_a_store_that_may_only_be_read_is_followed(tmp_path: Path, source: Source) -> None:
    """And whoever waits there is seen by whoever fetches: the chunk that it waits for comes first."""
    weights = made(source.folder / "w", 40 * CHUNK)
    root = tmp_path / "store"
    source.hold("w", CHUNK)
    owner = Fetcher(Store(root))
    bringing = owner.begin(weights, f"{source.url}/w")
    source.await_asked("w")
    with read_only(root, tmp_path / "mount") as mount:
        follower = Fetcher(Store(mount))
        arrival = follower.begin(weights, f"{source.url}/w")
        assert not arrival.has(39, 39)
        source.release("w")
        arrival.wait(39, 39)
        arrival.wait_all()
        found = os.pread(arrival.descriptor, weights.size, 0)
        assert found == (source.folder / "w").read_bytes()
        arrival.close()
        follower.close()
        owner.settle()
        assert source.given_bytes == weights.size
        assert [entry.digest for entry in keeping.entries(Store(mount))] == [weights.digest]
        assert [finding.is_right for finding in keeping.verify(Store(mount))] == [True]
        with pytest.raises(SourceError, match=r"cannot be changed .Read-only file system.; it belongs to"):
            keeping.pin(Store(mount), weights.digest)
        with pytest.raises(SourceError, match=r"cannot be changed .Read-only file system."):
            keeping.reduce(Store(mount), 0)
    bringing.close()
    owner.close()


@pytest.mark.system
@needs_root
def test_a_store_that_may_only_be_read_and_that_nobody_fills_is_an_error(tmp_path: Path) -> None:
    weights = made(tmp_path / "w", 3 * CHUNK)
    root = tmp_path / "store"
    for folder in ("weights", "incoming"):
        (root / folder).mkdir(parents=True)
    with read_only(root, tmp_path / "mount") as mount:
        fetcher = Fetcher(Store(mount))
        with pytest.raises(ReadOnlyError, match="set INSTAR_STORE to a folder that may be written"):
            fetcher.begin(weights, tmp_path / "w")
        fetcher.close()


def begun(store: Store, weights: Weights, location: Path, chunks: range) -> None:
    """Some chunks have arrived, then their owner has gone."""
    partial = store.partial(weights)
    assert partial is not None
    data = memoryview(location.read_bytes())
    for chunk in chunks:
        partial.write(chunk * CHUNK, data[chunk * CHUNK : (chunk + 1) * CHUNK])
        partial.map.mark(chunk)
    partial.close()


def damage(path: Path, at: int) -> None:
    mode = path.stat().st_mode
    path.chmod(0o644)
    with path.open("r+b") as file:
        byte = os.pread(file.fileno(), 1, at)
        os.pwrite(file.fileno(), bytes([byte[0] ^ 1]), at)
    path.chmod(mode)


def fetched(store: Store, weights: Weights, location: Path) -> int:
    """Complete a file; how many bytes came."""
    fetcher = Fetcher(store, environ={})
    arrival = fetcher.begin(weights, location)
    arrival.wait_all()
    fetched_bytes = arrival.fetched_bytes
    fetcher.settle()
    arrival.close()
    fetcher.close()
    assert read(store.place(weights.digest)) == weights.chunks
    return fetched_bytes


def test_chunks_that_a_loss_of_power_took_are_fetched_again(
    tmp_path: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The map reached the disk, a chunk did not; the next boot has another id."""
    location = source.folder / "w"
    weights = made(location, 10 * CHUNK)
    store = Store(tmp_path / "store")
    begun(store, weights, location, range(6))
    damage(store.incoming(weights.digest), 3 * CHUNK + 5)
    monkeypatch.setattr(chunkmap, "boot_id", lambda: b"the next boot's.")
    fetcher = Fetcher(store, environ={})
    arrival = fetcher.begin(weights, f"{source.url}/w")
    arrival.wait_all()
    fetcher.settle()
    arrival.close()
    fetcher.close()
    assert read(store.place(weights.digest)) == weights.chunks
    assert source.given_bytes == 5 * CHUNK, "the four that had not arrived, and the one that was lost"


def test_within_a_boot_nothing_that_arrived_is_read_again(tmp_path: Path) -> None:
    weights = made(tmp_path / "w", 10 * CHUNK)
    store = Store(tmp_path / "store")
    begun(store, weights, tmp_path / "w", range(6))
    assert fetched(store, weights, tmp_path / "w") == 4 * CHUNK


def test_a_damaged_file_is_moved_away_and_fetched_again(tmp_path: Path) -> None:
    weights = made(tmp_path / "w", 10 * CHUNK)
    store = Store(tmp_path / "store")
    fetched(store, weights, tmp_path / "w")
    damage(store.place(weights.digest), 7 * CHUNK)
    read_bytes: list[int] = []
    (finding,) = keeping.verify(store, read_bytes.append)
    assert finding.damaged == (7,) and finding.moved_to == store.damaged(weights.digest)
    assert sum(read_bytes) == weights.size
    assert store.whole(weights) is None
    assert fetched(store, weights, tmp_path / "w") == weights.size
    assert [finding.is_right for finding in keeping.verify(store)] == [True]
    keeping.reduce(store, 0)
    assert keeping.entries(store) == []


@pytest.mark.parametrize("spoil", [lambda path: path.unlink(), lambda path: path.write_bytes(b"3:4096:ab")])
def test_a_file_whose_digests_are_lost_is_not_trusted(tmp_path: Path, spoil: Callable[[Path], object]) -> None:
    weights = made(tmp_path / "w", 3 * CHUNK)
    store = Store(tmp_path / "store")
    fetched(store, weights, tmp_path / "w")
    spoil(store.place(weights.digest).with_suffix(".chunks"))
    (finding,) = keeping.verify(store)
    assert not finding.is_right and finding.moved_to is not None


def test_a_file_that_was_cut_short_is_not_trusted(tmp_path: Path) -> None:
    weights = made(tmp_path / "w", 3 * CHUNK)
    store = Store(tmp_path / "store")
    fetched(store, weights, tmp_path / "w")
    store.place(weights.digest).chmod(0o644)
    os.truncate(store.place(weights.digest), CHUNK)
    (finding,) = keeping.verify(store)
    assert finding.trouble == f"it has {CHUNK} bytes instead of {weights.size}"


def test_damage_in_a_file_on_its_way_is_found_and_only_that_is_fetched_again(tmp_path: Path) -> None:
    weights = made(tmp_path / "w", 10 * CHUNK)
    store = Store(tmp_path / "store")
    begun(store, weights, tmp_path / "w", range(6))
    damage(store.incoming(weights.digest), 2 * CHUNK)
    (finding,) = keeping.verify(store)
    assert finding.damaged == (2,) and finding.moved_to is None
    assert arrived(store, weights) == {0, 1, 3, 4, 5}
    assert fetched(store, weights, tmp_path / "w") == 5 * CHUNK


@pytest.mark.system
@needs_root
def test_a_full_disk_is_an_error_that_loses_nothing(tmp_path: Path) -> None:
    small, large = made(tmp_path / "small", 40 * CHUNK), made(tmp_path / "large", 400 * CHUNK, seed=1)
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        store = Store(disk)
        fetched(store, small, tmp_path / "small")
        fetcher = Fetcher(store, environ={"INSTAR_STORE_MIB": "1000"})
        with pytest.raises(SourceError, match=r"weights of 1\.6 MiB do not fit into a store of [01]\.\d MiB"):
            fetcher.begin(large, tmp_path / "large")
        fetcher.close()
        with pytest.raises(SourceError, match=r"cannot take 1638400 bytes of weights .*No space left on device"):
            store.partial(large)
        assert arrived(store, small) == set(range(40))
        assert [entry.digest for entry in keeping.entries(store)] == [small.digest]


@pytest.mark.system
@needs_root
def test_a_disk_that_others_fill_evicts_what_nobody_uses(tmp_path: Path) -> None:
    files = [made(tmp_path / str(seed), 60 * CHUNK, seed=seed) for seed in range(2)]
    with mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=1m", "tmpfs") as disk:
        store = Store(disk / "store")
        fetched(store, files[0], tmp_path / "0")
        (disk / "another's").write_bytes(bytes(600 * 1024))
        fetched(store, files[1], tmp_path / "1")
        assert [entry.digest for entry in keeping.entries(store)] == [files[1].digest]
