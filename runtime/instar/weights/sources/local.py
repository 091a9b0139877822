"""Weights in a file of this node, or of a file system that it has mounted."""

from __future__ import annotations

import os
import stat
import threading
from pathlib import Path

from instar.errors import MissingError, SourceError
from instar.weights.sources.ports import check_size, failed, refused
from instar.weights.sources.turns import Turns

_Version = tuple[int, int, int, int]  # device, inode, bytes, nanoseconds of the last change


class LocalOrigin:
    """A file by its path; the same file with the same content for all readers, or an error."""

    in_order = False

    def __init__(self, path: Path, *, nbytes: int | None) -> None:
        self.location = os.fspath(path)
        self.nbytes: int | None = None
        self._wanted = nbytes
        self._lock = threading.Lock()
        self._version: _Version | None = None

    def reader(self) -> LocalReader:
        return LocalReader(self)

    def open(self) -> int:
        """A descriptor. Raises `SourceError`, also for what is no regular file: a pipe would never end."""
        try:
            descriptor = os.open(self.location, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError as error:
            kind = MissingError if isinstance(error, FileNotFoundError) else SourceError
            raise refused(self.location, f"{error.strerror}; check that it exists and may be read", kind) from error
        try:
            self.check(descriptor)
            # From a cold disk 400 MB came at 2500 MB/s with this, at 500 to 1200 without, and slower still with
            # POSIX_FADV_WILLNEED for each chunk (ext4 on a virtual disk, one reader).
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def check(self, descriptor: int) -> None:
        """Raises `SourceError` if this is another content than the first reader found."""
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise refused(self.location, "it is no regular file")
        version = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
        with self._lock:
            if self._version is None:
                self.nbytes = found.st_size
                check_size(self.location, found.st_size, self._wanted)
                self._version = version
            elif self._version != version:
                raise refused(self.location, "the file was changed while it was read; start again once it is whole")


class LocalReader:
    """One descriptor, read at any place."""

    def __init__(self, origin: LocalOrigin) -> None:
        self._origin = origin
        self._descriptor = -1
        self._position = self._end = 0
        self._turns = Turns(break_off=lambda: None, release=self._release)

    def seek(self, begin: int, nbytes: int) -> None:
        with self._turns:
            self._open()
            self._position, self._end = begin, begin + nbytes

    def read(self, into: memoryview) -> None:
        with self._turns:
            assert self._position + len(into) <= self._end, "only what was sought is read"
            self._open()
            while into:
                got = self._pread(into)
                if not got:
                    self._origin.check(self._descriptor)
                    raise refused(self._origin.location, f"it ends after {self._position} bytes; it was cut short")
                into = into[got:]
                self._position += got
            self._origin.check(self._descriptor)

    def whole(self, limit_bytes: int) -> bytes:
        """All bytes there are."""
        with self._turns:
            self._open()
            size = os.fstat(self._descriptor).st_size
            if size > limit_bytes:
                raise refused(self._origin.location, f"it has {size} bytes; at most {limit_bytes} are read")
            self._position, self._end = 0, size
        data = bytearray(size)
        self.read(memoryview(data))
        return bytes(data)

    def close(self) -> None:
        self._turns.end()

    def _open(self) -> None:
        if self._turns.ended:
            raise failed(self._origin.location, "the read was broken off")
        if self._descriptor < 0:
            self._descriptor = self._origin.open()

    def _pread(self, into: memoryview) -> int:
        try:
            return os.preadv(self._descriptor, [into], self._position)
        except OSError as error:
            raise failed(self._origin.location, f"{error.strerror} at byte {self._position}") from error

    def _release(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)
