"""Who waits for which chunk, seen by every process of the node: locks on byte ranges of one file.

The rule: whoever waits holds a read lock on bytes whose places say how urgent it is, which file and which chunks; the
kernel takes the lock away when the waiter is done or dead. So an ask needs no messages, can be made from a
container that has the store mounted read-only, and never outlives its maker.

    place = urgency << 60 | 40 bits of the file's digest << 20 | chunk

The locks belong to open file descriptions, so they are seen between threads and containers alike. Two files with the
same 40 bits would merely share their urgency.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from instar.weights.pipeline import Urgency

_FLOCK = struct.Struct("hhqqi4x")  # type, whence, start, length, pid: the kernel's `struct flock` on 64 bits
_URGENCY_SHIFT, _FILE_SHIFT = 60, 20
_FILE_BITS = 40
_LAST_CHUNK = (1 << _FILE_SHIFT) - 1


class Asks:
    """The node's asks, by one open file. Make one for each thread that asks, and for each fetcher."""

    def __init__(self, path: Path) -> None:
        """Raises `OSError` where the file is neither there nor can be made."""
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    @contextmanager
    def asking(self, urgency: Urgency, digest: str, first: int, last: int) -> Iterator[None]:
        """Be seen to wait for the chunks `first` to `last` of the file with this digest."""
        at = _place(urgency, digest, first)
        length = _place(urgency, digest, last) - at + 1
        fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _lock(fcntl.F_RDLCK, at, length))
        try:
            yield
        finally:
            fcntl.fcntl(self._descriptor, fcntl.F_OFD_SETLK, _lock(fcntl.F_UNLCK, at, length))

    def asked(self, urgency: Urgency, digest: str) -> tuple[int, int] | None:
        """Chunks of this file that somebody waits for with just this urgency: the first and the last of them."""
        found = self._find(_place(urgency, digest, 0), _LAST_CHUNK + 1)
        return None if found is None else (found[0] & _LAST_CHUNK, found[1] & _LAST_CHUNK)

    def others(self, digests: Collection[str]) -> Urgency | None:
        """How urgently somebody waits for files that are none of these; None if nobody does."""
        ours = {_bits(digest) for digest in digests}
        at, end = 0, (max(Urgency) + 1) << _URGENCY_SHIFT
        while (found := self._find(at, end - at)) is not None:
            first, _ = found
            if (first >> _FILE_SHIFT) & ((1 << _FILE_BITS) - 1) not in ours:
                return Urgency(first >> _URGENCY_SHIFT)
            at = (first | _LAST_CHUNK) + 1
        return None

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _find(self, at: int, length: int) -> tuple[int, int] | None:
        """The first and the last place of a lock of somebody else between `at` and `at + length`."""
        found = fcntl.fcntl(self._descriptor, fcntl.F_OFD_GETLK, _lock(fcntl.F_WRLCK, at, length))
        kind, _, start, count, _ = _FLOCK.unpack(found)
        return None if kind == fcntl.F_UNLCK else (max(start, at), min(start + count, at + length) - 1)


def _bits(digest: str) -> int:
    return int(digest[: _FILE_BITS // 4], 16)


def _place(urgency: Urgency, digest: str, chunk: int) -> int:
    return urgency << _URGENCY_SHIFT | _bits(digest) << _FILE_SHIFT | min(chunk, _LAST_CHUNK)


def _lock(kind: int, at: int, length: int) -> bytes:
    return _FLOCK.pack(kind, os.SEEK_SET, at, length, 0)
