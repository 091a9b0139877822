"""The node's store: weights files under the digest of their content, shared by every container of the node.

The rule: no byte is visible before its digest matched. A whole file is read-only and never changes; a file on its way
holds verified chunks only, and its map says which. Nothing here is lost by a crash at any point: the directory is the
state, and locks, which end with their holder, say who does what.

    <root>/weights/<digest>        a whole weights file, mode 0444
    <root>/weights/<digest>.spans  where its tensors lie, with their digests (`manifest.pack_spans`)
    <root>/weights/<digest>.chunks what tells a right file from a wrong one (`Weights.account`), its name's digest
    <root>/incoming/<digest>       a file on its way, with all its space reserved
    <root>/incoming/<digest>.map   which of its chunks are there (`chunkmap.py`); its lock says who fetches them
    <root>/incoming/<digest>.chunks
    <root>/damaged/<digest>        a file that was found to be wrong (`keeping.py`)
    <root>/pins/<digest>           a whole file that is not to be evicted
    <root>/asks                    who waits for what (`asks.py`)
    <root>/lock                    held for the moment in which files appear, change their place or go
    <root>/compiled/<key>          programs that this node has compiled (`executor/prepare.py`)

Whoever maps a file holds a shared lock on it, so that nobody takes it for unused.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from instar import digests, whole_files
from instar.errors import ReadOnlyError, SourceError
from instar.weights import kernel
from instar.weights.asks import Asks
from instar.weights.chunkmap import ChunkMap, State
from instar.weights.manifest import Weights

SIBLINGS = 128  # files that are searched for equal tensors: about ten milliseconds
READ_ONLY_ERRORS = (errno.EROFS, errno.EACCES, errno.EPERM)


def default_root(environment: dict[str, str]) -> Path:
    """`$INSTAR_STORE`, or the cache folder that the platform's conventions give."""
    if explicit := environment.get("INSTAR_STORE"):
        return Path(explicit)
    cache = environment.get("XDG_CACHE_HOME") or os.path.join(environment.get("HOME", "/tmp"), ".cache")
    return Path(cache) / "instar"


@dataclass(slots=True)
class Whole:
    """A whole file. Owns the descriptor, and with it the shared lock."""

    descriptor: int


class Partial:
    """A file on its way. Owns its map and a descriptor of the file, with a shared lock on it."""

    def __init__(self, weights: Weights, map_: ChunkMap, descriptor: int) -> None:
        self.weights = weights
        self.map = map_
        self.descriptor = descriptor

    def write(self, at: int, data: memoryview) -> None:
        """Put verified bytes in their place. Raises `OSError`; the owner alone may call this."""
        while data:
            count = os.pwrite(self.descriptor, data, at)
            data, at = data[count:], at + count

    def recheck(self) -> int:
        """Hold the chunks that are said to be there against their digests; returns how many were not.

        For a new owner after a crash of the machine, when the map may be ahead of what the disk holds.
        """
        lost = 0
        for number, flag in enumerate(bytes(self.map.flags)):
            if flag and self.digest(number) != self.weights.chunks[number]:
                self.map.unmark(number)
                lost += 1
        return lost

    def digest(self, chunk: int) -> str:
        """The digest of what stands in a chunk's place."""
        size = self.weights.chunk_bytes
        return digests.hexdigest(os.pread(self.descriptor, size, chunk * size))

    def close(self) -> None:
        if self.descriptor >= 0:
            self.map.close()
            os.close(self.descriptor)
            self.descriptor = -1


class Store:
    """The weights files of one node. Holds no state of its own: the directory is the state."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def __repr__(self) -> str:
        return f"<Store {self.root}>"

    def whole(self, weights: Weights) -> Whole | None:
        """The file with just these weights, if the node has all of it. Raises `SourceError` if it is damaged."""
        path = self.place(weights.digest)
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._refusal("be read", error) from error
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        found = os.fstat(descriptor).st_size
        if found != weights.size:
            os.close(descriptor)
            raise SourceError(f"{path} has {found} bytes instead of {weights.size}; remove it: `instar store verify`")
        with suppress(OSError):  # a store that may only be read keeps no account of use
            os.utime(path)
        return Whole(descriptor)

    def partial(self, weights: Weights, make_room: Callable[[int], object] = lambda nbytes: None) -> Partial | None:
        """The file on its way, begun if need be; None if meanwhile it is whole.

        `make_room` is told how many bytes are needed before a file is begun, and is called with the store locked.
        Raises `SourceError` if the store cannot take it, `ReadOnlyError` if it may only be read here and nobody
        fetches this file.
        """
        try:
            with self.locked():
                if self.place(weights.digest).exists():
                    return None
                if (found := self.existing(weights)) is None:
                    make_room(weights.size)
                    self._begin(weights)
                    found = self.existing(weights)
                return found
        except OSError as error:
            if error.errno not in READ_ONLY_ERRORS:
                raise self._refusal(f"take {weights.size} bytes of weights", error) from error
            if (found := self.existing(weights)) is None and not self.place(weights.digest).exists():
                raise ReadOnlyError(
                    f"the node's store {self.root} may only be read here, it lacks these weights and nobody fetches "
                    "them: let `instar serve` fetch them, or set INSTAR_STORE to a folder that may be written"
                ) from error
            return found

    def existing(self, weights: Weights) -> Partial | None:
        """The file on its way, if there is one. Raises `OSError`."""
        path = self.incoming(weights.digest)
        try:
            map_ = ChunkMap(_map_of(path), len(weights.chunks))
        except FileNotFoundError:
            return None
        except ValueError:  # cut short when the machine went down, or of another release
            return None
        try:
            flags = os.O_RDWR if map_.writable else os.O_RDONLY
            descriptor = os.open(path, flags | os.O_CLOEXEC)
        except OSError:
            map_.close()
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        if os.fstat(descriptor).st_size != weights.size:
            os.close(descriptor)
            map_.close()
            return None
        return Partial(weights, map_, descriptor)

    def publish(self, partial: Partial, spans: bytes) -> None:
        """Give a file whose chunks are all there its place. Returns when the disk has it. Raises `SourceError`."""
        try:
            os.fsync(partial.descriptor)
            with self.locked():
                place, incoming = self.place(partial.weights.digest), self.incoming(partial.weights.digest)
                place.parent.mkdir(parents=True, exist_ok=True)
                if spans:
                    whole_files.write(place.with_suffix(".spans"), spans)
                whole_files.write(_account_of(place), partial.weights.account)
                os.fchmod(partial.descriptor, 0o444)
                incoming.rename(place)
                partial.map.set(State.WHOLE)
                _map_of(incoming).unlink()
                _account_of(incoming).unlink(missing_ok=True)
        except OSError as error:
            raise self._refusal("give a file its place", error) from error

    def tensors(self) -> Iterator[tuple[str, bytes]]:
        """The whole files that came last, newest first, and where the tensors of each lie (`manifest.pack_spans`)."""
        with suppress(FileNotFoundError):  # a store without a file, or one that was just evicted
            folder = os.scandir(self.root / "weights")
            found = [(entry.stat().st_mtime, entry.path) for entry in folder if entry.name.endswith(".spans")]
            for _, path in sorted(found, reverse=True)[:SIBLINGS]:
                yield Path(path).stem, Path(path).read_bytes()

    def read(self, digest: str, offset: int, into: memoryview) -> bool:
        """Fill `into` from a whole file; False if that is not there any more."""
        try:
            descriptor = os.open(self.place(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            return os.preadv(descriptor, [into], offset) == len(into)
        finally:
            os.close(descriptor)

    def asks(self) -> Asks:
        """Who waits for what on this node. Raises `SourceError`."""
        try:
            return Asks(self.root / "asks")
        except OSError as error:
            raise self._refusal("be used", error) from error

    def map_of(self, digest: str) -> Path:
        """Where the map of a file on its way is."""
        return _map_of(self.incoming(digest))

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The moment in which files may appear, change their place or go. Raises `OSError`."""
        for folder in (self.root, self.root / "incoming"):
            folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.root / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def place(self, digest: str) -> Path:
        """Where a whole file is."""
        return self.root / "weights" / digest

    def pin(self, digest: str) -> Path:
        """What is there if a file is not to be evicted."""
        return self.root / "pins" / digest

    def damaged(self, digest: str) -> Path:
        """Where a file is that was found to be wrong."""
        return self.root / "damaged" / digest

    def incoming(self, digest: str) -> Path:
        """Where a file on its way is."""
        return self.root / "incoming" / digest

    def _begin(self, weights: Weights) -> None:
        """Make file and map, in this order: a map that is there has a file of the right size beside it."""
        path = self.incoming(weights.digest)
        _map_of(path).unlink(missing_ok=True)  # of a file that has its place, or is gone: it must not speak for this
        path.unlink(missing_ok=True)  # without a map it is worth nothing; who still reads it keeps what it has
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            os.fchmod(descriptor, 0o644)  # whatever the umask: containers of other users read it
            kernel.allocate(descriptor, weights.size)
            whole_files.write(_account_of(path), weights.account)
            whole_files.write(_map_of(path), ChunkMap.blank(len(weights.chunks)))
        except BaseException:
            path.unlink()
            raise
        finally:
            os.close(descriptor)

    def _refusal(self, what: str, error: OSError) -> SourceError:
        return SourceError(
            f"the node's store {self.root} cannot {what} ({error.strerror}); "
            "give it space and permission, or set INSTAR_STORE to another folder"
        )


def _map_of(incoming: Path) -> Path:
    return incoming.with_suffix(".map")


def _account_of(path: Path) -> Path:
    return path.with_suffix(".chunks")
