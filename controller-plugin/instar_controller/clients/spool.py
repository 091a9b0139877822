"""Records on disk that still have to be written to the database.

One rule: what `append` has returned from is in the file, so that the end of this process, however it comes, takes
nothing with it; it is synced to the disk whenever records stay for longer, and at the end. A record leaves the files
only after `release`. What was taken before a crash is taken again: writing a record twice does no harm.

A line is a digest, an id and a record. A line that is not whole (the process or the disk ended in the middle of it)
is the last of its file, as every process begins a file of its own; it is passed over and counted. Beside the files
lies `set-aside.jsonl`, with the records that the database will never take, for people to look at. One process owns a
folder at a time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import io
import json
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from instar_controller.errors import StoreError
from instar_controller.policies.keeping import Record

logger = logging.getLogger(__name__)

SEGMENT_BYTES = 8 << 20  # a file is closed at this size, so that what has been written can be let go of
_KEEP_BYTES = 1 << 20  # a file that is done with is emptied only from here on: most never grow so far
_DIGEST_BYTES = 8
_READ_BYTES = 1 << 20
SET_ASIDE = "set-aside.jsonl"


class Spool:
    """Records in the order in which they were appended. `append` is safe for several threads, the rest for one."""

    def __init__(self, folder: Path, *, most_bytes: int = 1 << 30, segment_bytes: int = SEGMENT_BYTES) -> None:
        """Open the folder, or make it; what an earlier process left in it comes first. Raises `StoreError`."""
        self._folder = folder
        self._most_bytes = most_bytes
        self._segment_bytes = segment_bytes
        self._lock = threading.Lock()
        self.torn = 0  # lines that were not whole
        with self._translated("open"), contextlib.ExitStack() as opened:
            folder.mkdir(parents=True, exist_ok=True)
            self._folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            opened.callback(os.close, self._folder_fd)
            self._own()
            found = sorted(int(path.stem) for path in folder.glob("[0-9]*.log"))
            self._files: dict[int, int] = {}  # size in bytes by number; the last one grows
            for number in found:
                self._files[number] = self._path(number).stat().st_size
            self._taking = (found[0] if found else 1, 0)  # what is taken next: file and offset
            self._is_released = True  # whether all that was taken is
            self._unsynced: list[int] = []  # files that are full, but perhaps not on the disk
            self._fd = self._begin_file(found[-1] + 1 if found else 1)
            opened.pop_all()

    def __repr__(self) -> str:
        return f"Spool({self._folder}, {self.waiting_bytes} bytes to take)"

    @property
    def waiting_bytes(self) -> int:
        """What has not been taken yet."""
        with self._lock:
            return self._waiting_bytes()

    @property
    def is_full(self) -> bool:
        with self._lock:
            return self._waiting_bytes() >= self._most_bytes

    def append(self, record: Record) -> None:
        """Add a record at the end. Raises `StoreError` if the bound is reached or the disk does not take it."""
        line = _line(record)
        with self._lock, self._translated("write to"):
            if self._waiting_bytes() + len(line) > self._most_bytes:
                raise StoreError(f"the records in {self._folder} have reached their bound, {self._most_bytes} bytes")
            last = next(reversed(self._files))
            if self._files[last] >= self._segment_bytes:
                fd = self._begin_file(last + 1)
                self._unsynced.append(self._fd)
                self._fd = fd
                last += 1
            size = self._files[last]
            _append(self._fd, line, size)
            self._files[last] = size + len(line)

    def take(self, most: int, most_bytes: int) -> Sequence[Record]:
        """The next records: at most so many, and no more bytes than that but for a first one that is larger.

        Raises `StoreError`; then they are still there to take.
        """
        taken: list[Record] = []
        left = most_bytes
        with self._translated("read"):
            while len(taken) < most and (block := self._block(max(1, left) if taken else _READ_BYTES)) is not None:
                for line in io.BytesIO(block):
                    record = _parsed(line)
                    left -= len(line)
                    if len(taken) >= most or (taken and left < 0):
                        return taken
                    self._taking, self._is_released = (self._taking[0], self._taking[1] + len(line)), False
                    if record is None:
                        self.torn += 1
                        logger.warning("a record in %s is not whole; it is passed over", self._folder)
                    else:
                        taken.append(record)
        return taken

    def release(self) -> None:
        """Everything that was taken is written: let go of it, as far as that is worth it. Raises `StoreError`."""
        with self._lock, self._translated("clean up"):
            self._is_released = True
            number, offset = self._taking
            last = next(reversed(self._files))
            for done in [other for other in self._files if other < number]:
                self._path(done).unlink(missing_ok=True)
                del self._files[done]
            if number == last and offset == self._files[last] >= _KEEP_BYTES:
                os.ftruncate(self._fd, 0)
                self._files[last], self._taking = 0, (last, 0)

    def sync(self) -> None:
        """Have everything on the disk. Raises `StoreError`."""
        with self._lock:
            full, self._unsynced = self._unsynced, []
            growing = os.dup(self._fd)  # so that it may be closed meanwhile
        with self._translated("sync"), contextlib.ExitStack() as closing:
            for fd in (*full, growing):
                closing.callback(os.close, fd)
            for fd in (*full, growing):
                os.fdatasync(fd)

    def set_aside(self, record: Record, reason: str) -> None:
        """Keep a record that the database will never take, where people find it. Raises `StoreError`."""
        note = json.dumps({"id": record.id, "reason": reason}, ensure_ascii=False).encode()
        line = note[:-1] + b', "record": ' + record.body + b"}\n"
        with self._translated("write to"), (self._folder / SET_ASIDE).open("ab", buffering=0) as file:
            _append(file.fileno(), line, file.tell())

    def close(self) -> None:
        """Let go of the folder. What has not been released is there for the next process."""
        with contextlib.suppress(StoreError):
            if self._is_released and self.waiting_bytes == 0:
                with self._translated("clean up"):
                    for number in self._files:
                        self._path(number).unlink(missing_ok=True)
            self.sync()
        os.close(self._fd)
        os.close(self._folder_fd)

    def _block(self, most_bytes: int) -> bytes | None:
        """Whole lines from where taking goes on; None at the end."""
        while True:
            number, offset = self._taking
            with self._lock:
                size = self._files.get(number, 0)
                later = [other for other in self._files if other > number]
            if offset < size:
                return _read_lines(self._path(number), offset, size, most_bytes)
            if not later:
                return None
            self._taking = (later[0], 0)

    def _waiting_bytes(self) -> int:
        number, offset = self._taking
        return sum(size for other, size in self._files.items() if other >= number) - offset

    def _begin_file(self, number: int) -> int:
        fd = os.open(self._path(number), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        with contextlib.suppress(OSError):
            os.fsync(self._folder_fd)  # its name
        self._files[number] = 0
        return fd

    def _own(self) -> None:
        try:
            fcntl.flock(self._folder_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"the records in {self._folder} belong to another process; end it, or give this one another folder"
            ) from None

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:08d}.log"

    @contextlib.contextmanager
    def _translated(self, what: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            why = error.strerror or str(error)
            raise StoreError(
                f"cannot {what} the records in {self._folder}: {why}; check its disk and rights"
            ) from None


def _line(record: Record) -> bytes:
    content = b"%b\t%b" % (json.dumps(record.id).encode(), record.body)
    return b"%b\t%b\n" % (_digest(content), content)


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest().encode()


def _parsed(line: bytes) -> Record | None:
    """The record of a line; None if the line is not whole."""
    digest, _, content = line.removesuffix(b"\n").partition(b"\t")
    if not line.endswith(b"\n") or digest != _digest(content):
        return None
    id, _, body = content.partition(b"\t")
    return Record(json.loads(id), body)


def _append(fd: int, line: bytes, size: int) -> None:
    """Write a line at the end of a file of that size, or nothing of it. Raises `OSError`."""
    written = 0
    try:
        while written < len(line):
            written += os.pwrite(fd, line[written:], size + written)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(fd, size)  # or the next line would begin in the middle of this one
        raise


def _read_lines(path: Path, offset: int, end: int, most_bytes: int) -> bytes:
    """Lines from `offset` on, about `most_bytes` of them; a torn one only at the very end."""
    with path.open("rb", buffering=0) as file:
        while True:
            block = os.pread(file.fileno(), min(most_bytes, end - offset), offset)
            whole = block.rfind(b"\n") + 1
            if whole:
                return block[:whole]
            if len(block) >= end - offset or not block:
                return block
            most_bytes *= 4
