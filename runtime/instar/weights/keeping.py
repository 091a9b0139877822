"""Keeping a node's store: what is in it, what goes when it is full, whether what is there is still right.

The rule: nothing that somebody has mapped, fetches or pinned is taken away; whether somebody does is asked of the
kernel, by the locks that users hold (`store.py`), at the moment in which a file goes. `budget.py` decides what goes.
"""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from instar import digests
from instar.errors import SourceError
from instar.weights import budget
from instar.weights.budget import Entry, Standing
from instar.weights.manifest import Weights, read_account
from instar.weights.store import Partial, Store

logger = logging.getLogger(__name__)

BUDGET = "INSTAR_STORE_MIB"

Progress = Callable[[int], object]  # told the number of bytes after each piece


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of looking at one file: chunks that are wrong, or why nothing can be said of them."""

    digest: str
    damaged: tuple[int, ...] = ()
    trouble: str = ""
    moved_to: Path | None = None

    @property
    def is_right(self) -> bool:
        return not self.damaged and not self.trouble


def entries(store: Store) -> list[Entry]:
    """Every file of the store. Raises `SourceError` if there is no store, or it may not be read."""
    found = []
    try:
        names = os.listdir(store.root)
        for name in _files(store.root / "weights"):
            with suppress(FileNotFoundError):  # evicted by another process at this moment
                found.append(_whole(store, name))
        for name in _files(store.root / "incoming"):
            with suppress(FileNotFoundError):
                found.append(_partial(store, name))
        for name in _files(store.root / "damaged"):
            found.append(_entry(store.damaged(name), Standing.DAMAGED))
    except FileNotFoundError:
        raise SourceError(f"there is no store at {store.root}; name one with --store or INSTAR_STORE") from None
    except OSError as error:
        raise _refusal(store, "be read", error) from error
    if not found and names and not {"weights", "incoming", "lock", "compiled", "asks"} & set(names):
        raise SourceError(f"{store.root} is no store of Instar's: it holds {sorted(names)[0]!r}; name another folder")
    return found


def make_room(store: Store, nbytes: int, environ: Mapping[str, str]) -> None:
    """Evict what nobody uses so that `nbytes` more fit. For a caller that has the store locked.

    Raises `SourceError` if they cannot fit; then nothing was evicted.
    """
    there = entries(store)
    going = budget.to_fit(there, nbytes, limit(store, sum(entry.nbytes for entry in there), environ))
    for entry in going:
        if _evict(store, entry):
            logger.info("evicted %s (%d bytes) for %d bytes more", entry.digest, entry.nbytes, nbytes)


def reduce(store: Store, nbytes: int) -> list[Entry]:
    """Remove what nobody uses until at most `nbytes` are left, and what crashes left over; returns what went.

    Raises `SourceError` if the store may not be written.
    """
    entries(store)  # says if there is none, before a lock would make one
    with _locked(store):
        _sweep(store)
        return [entry for entry in budget.down_to(entries(store), nbytes) if _evict(store, entry)]


def limit(store: Store, kept: int, environ: Mapping[str, str]) -> int:
    """How many bytes the store may take: `INSTAR_STORE_MIB` or half of its file system, but never more than there is.

    `kept` is what it takes now. Raises `SourceError` for a setting that is no number.
    """
    system = os.statvfs(store.root)
    room = kept + system.f_bavail * system.f_frsize
    said = environ.get(BUDGET)
    if said is None:
        return min(system.f_blocks * system.f_frsize // 2, room)
    if not said.isdecimal():
        raise SourceError(f"{BUDGET} is {said!r}; give a number of MiB, as in {BUDGET}=20000")
    return min(int(said) * 2**20, room)


def find(store: Store, prefix: str) -> str:
    """The digest of the one file that begins so. Raises `SourceError` if none does, or several do."""
    found = {entry.digest for entry in entries(store) if entry.digest.startswith(prefix)}
    if len(found) != 1:
        what = f"{len(found)} files begin" if found else "no file begins"
        raise SourceError(f"{what} with {prefix!r} in the store {store.root}; `instar store ls` shows what is there")
    return found.pop()


def pin(store: Store, prefix: str) -> str:
    """Have a file never evicted; returns its digest. Raises `SourceError`."""
    digest = find(store, prefix)
    with _writing(store):
        store.pin(digest).parent.mkdir(exist_ok=True)
        store.pin(digest).touch()
    return digest


def unpin(store: Store, prefix: str) -> str:
    """Let a file be evicted again; returns its digest. Raises `SourceError`."""
    digest = find(store, prefix)
    with _writing(store):
        store.pin(digest).unlink(missing_ok=True)
    return digest


def verify(store: Store, progress: Progress = lambda _: None) -> Iterator[Finding]:
    """Hold every file against its digests. What is wrong goes out of the way, and is fetched when it is next needed.

    A whole file that is wrong is moved to `damaged`; chunks of one on its way are marked as missing. Raises
    `SourceError` where the store may not be written and something is wrong.
    """
    for entry in entries(store):
        if entry.standing is Standing.DAMAGED:
            continue
        if store.place(entry.digest).exists():
            yield _verify_whole(store, entry.digest, progress)
        elif store.map_of(entry.digest).exists():
            yield _verify_partial(store, entry, progress)


# What there is.


def _files(folder: Path) -> list[str]:
    """Names of weights files; what else is there has a suffix or a dot in front."""
    try:
        return sorted(name for name in os.listdir(folder) if "." not in name)
    except FileNotFoundError:
        return []


def _entry(path: Path, standing: Standing) -> Entry:
    status = path.stat()
    return Entry(path.name, status.st_size, status.st_mtime, standing)


def _whole(store: Store, digest: str) -> Entry:
    path = store.place(digest)
    if store.pin(digest).exists():
        return _entry(path, Standing.PINNED)
    return _entry(path, Standing.IDLE if _is_free(path) else Standing.IN_USE)


def _partial(store: Store, digest: str) -> Entry:
    path, map_ = store.incoming(digest), store.map_of(digest)
    try:
        is_arriving = not _is_free(map_)
    except FileNotFoundError:
        is_arriving = False
    if is_arriving:
        return _entry(path, Standing.ARRIVING)
    return _entry(path, Standing.STALE if _is_free(path) else Standing.IN_USE)


def _is_free(path: Path) -> bool:
    """Whether nobody holds a lock on a file. Raises `FileNotFoundError`."""
    with _alone(path) as descriptor:
        return descriptor is not None


@contextmanager
def _alone(path: Path) -> Iterator[int | None]:
    """A descriptor of a file that nobody else has a lock on, locked; None if somebody has. Raises `OSError`."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)


# What goes. The store is locked.


def _evict(store: Store, entry: Entry) -> bool:
    """Remove one file; False if meanwhile somebody uses it."""
    if entry.standing is Standing.DAMAGED:
        store.damaged(entry.digest).unlink()
        return True
    for path in (store.place(entry.digest), store.incoming(entry.digest)):
        with suppress(FileNotFoundError), _alone(path) as ours:
            if ours is not None and _remove(store, path):
                return True
    return False


def _remove(store: Store, path: Path) -> bool:
    map_ = path.with_suffix(".map")
    with suppress(FileNotFoundError), _alone(map_) as ours:
        if ours is None:
            return False
        map_.unlink()  # before its file: a map never speaks for a file that is not there
    path.unlink()
    for suffix in (".spans", ".chunks"):
        path.with_suffix(suffix).unlink(missing_ok=True)
    return True


def _sweep(store: Store) -> None:
    """Remove what is left of crashes: files that were being written, and what belongs to files that have gone."""
    for folder in (store.root / "weights", store.root / "incoming"):
        for name in os.listdir(folder) if folder.is_dir() else ():
            path = folder / name
            if name.startswith(".") or ("." in name and not path.with_suffix("").exists()):
                path.unlink(missing_ok=True)
    for name in _files(store.root / "pins"):
        if not store.place(name).exists() and not store.incoming(name).exists():
            store.pin(name).unlink(missing_ok=True)


# Whether it is right.


def _verify_whole(store: Store, digest: str, progress: Progress) -> Finding:
    path = store.place(digest)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return Finding(digest, trouble="it was evicted meanwhile")
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        found = _examine(path, descriptor, progress)
    finally:
        os.close(descriptor)
    if found.is_right:
        return found
    with _locked(store):
        target = store.damaged(digest)
        target.parent.mkdir(exist_ok=True)
        path.rename(target)
        for suffix in (".spans", ".chunks"):
            path.with_suffix(suffix).unlink(missing_ok=True)
    return Finding(digest, found.damaged, found.trouble, target)


def _examine(path: Path, descriptor: int, progress: Progress) -> Finding:
    size = os.fstat(descriptor).st_size
    weights = _account(path)
    if weights is None:
        progress(size)
        return Finding(path.name, trouble="the digests of its chunks are missing or damaged")
    if size != weights.size:
        progress(size)
        return Finding(path.name, trouble=f"it has {size} bytes instead of {weights.size}")
    damaged = []
    for number, wanted in enumerate(weights.chunks):
        data = os.pread(descriptor, weights.chunk_bytes, number * weights.chunk_bytes)
        if digests.hexdigest(data) != wanted:
            damaged.append(number)
        progress(len(data))
    return Finding(path.name, tuple(damaged))


def _verify_partial(store: Store, entry: Entry, progress: Progress) -> Finding:
    """Only while nobody fetches it, since only its owner may say that a chunk is missing."""
    progress(entry.nbytes)
    weights = _account(store.incoming(entry.digest))
    if weights is None:
        return Finding(entry.digest, trouble="the digests of its chunks are missing or damaged")
    partial = store.existing(weights)
    if partial is None:
        return Finding(entry.digest, trouble="it has become whole, or was removed, meanwhile")
    try:
        if not partial.map.writable or not partial.map.try_own():
            return Finding(entry.digest)
        return Finding(entry.digest, damaged=_lost(partial))
    finally:
        partial.close()


def _lost(partial: Partial) -> tuple[int, ...]:
    before = bytes(partial.map.flags)
    partial.recheck()
    after = bytes(partial.map.flags)
    return tuple(number for number, flag in enumerate(before) if flag and not after[number])


def _account(path: Path) -> Weights | None:
    """What the chunks of a file should be; None where that is not known for sure."""
    try:
        account = path.with_suffix(".chunks").read_bytes()
        return read_account(account) if digests.hexdigest(account) == path.name else None
    except (FileNotFoundError, ValueError):
        return None


@contextmanager
def _locked(store: Store) -> Iterator[None]:
    with _writing(store), store.locked():
        yield


@contextmanager
def _writing(store: Store) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _refusal(store, "be changed", error) from error


def _refusal(store: Store, what: str, error: OSError) -> SourceError:
    return SourceError(
        f"the store {store.root} cannot {what} ({error.strerror}); it belongs to whoever made it: "
        "run this as that user and where it may be written, or name another one with --store"
    )
