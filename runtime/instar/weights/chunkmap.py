"""Which chunks of a file that is on its way have arrived: a byte each, in memory that all processes share.

The rule: one process at a time writes it, the one that holds the file's lock; it sets a chunk's byte only after the
chunk's digest matched and its bytes were written. Everybody else maps it and waits on its generation, a futex, which
works across containers and over a mount that may only be read.

It outlives its writer, however that ended. After a crash of the whole machine what it says may be ahead of what the
disk holds: it names the boot that it was written in, so that the next owner knows to look.
"""

from __future__ import annotations

import fcntl
import os
import struct
from contextlib import suppress
from enum import IntEnum
from pathlib import Path

from instar.weights.kernel import Shared

MAGIC = b"INSTARC1"
_HEADER = struct.Struct("<8sIIB7x16s")  # magic, chunks, generation, state, boot
_GENERATION_AT, _STATE_AT, _BOOT_AT = 12, 16, 24
_REASON_AT, _REASON_BYTES = 64, 960
FLAGS_AT = 1024


class State(IntEnum):
    """What becomes of the file."""

    UNDER_WAY = 0
    WHOLE = 1  # every chunk is there
    FAILED = 2  # who fetched it has given up; `reason` says why


class ChunkMap:
    """One file's map. Owns a descriptor and a mapping."""

    def __init__(self, path: Path, chunks: int) -> None:
        """Open a map that exists. Raises `OSError`, and `ValueError` if it is none of `chunks` chunks."""
        self.chunks = chunks
        self.writable = True
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            self.writable = False
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(self._descriptor).st_size
            if size != FLAGS_AT + chunks:
                raise ValueError(f"{path} has {size} bytes; a map of {chunks} chunks has {FLAGS_AT + chunks}")
            self._shared = Shared(self._descriptor, size, writable=self.writable)
            magic, found, *_ = _HEADER.unpack_from(self._shared.bytes)
            if magic != MAGIC or found != chunks:
                raise ValueError(f"{path} is no map of {chunks} chunks")
        except BaseException:
            os.close(self._descriptor)
            raise
        self._flags = self._shared.bytes[FLAGS_AT:]

    @staticmethod
    def blank(chunks: int) -> bytes:
        """What a new map's file holds: nothing has arrived."""
        return _HEADER.pack(MAGIC, chunks, 0, State.UNDER_WAY, boot_id()).ljust(FLAGS_AT + chunks, b"\0")

    # Everybody.

    @property
    def flags(self) -> memoryview:
        """A byte a chunk: 1 if it is there."""
        return self._flags

    def has(self, first: int, last: int) -> bool:
        """Whether the chunks `first` to `last`, both included, are all there."""
        if first == last:
            return self._flags[first] == 1
        return bytes(self._flags[first : last + 1]).find(0) < 0

    @property
    def state(self) -> State:
        return State(self._shared.bytes[_STATE_AT])

    @property
    def reason(self) -> str:
        """Why its last owner gave up."""
        text = bytes(self._shared.bytes[_REASON_AT : _REASON_AT + _REASON_BYTES])
        return text.rstrip(b"\0").decode("utf-8", "replace")

    @property
    def generation(self) -> int:
        """Changes with whatever happens to the file."""
        return self._shared.word(_GENERATION_AT)

    def wait(self, seen: int, timeout_s: float) -> None:
        """Wait until something has happened since the generation was `seen`, or time is up."""
        self._shared.wait(_GENERATION_AT, seen, timeout_s)

    @property
    def is_of_this_boot(self) -> bool:
        """Whether what it says was written since the machine started, and so is true of the page cache."""
        return bytes(self._shared.bytes[_BOOT_AT : _BOOT_AT + 16]) == boot_id()

    # Who wants to be its owner.

    def try_own(self) -> bool:
        """Become the one process that may write it, if nobody is. Its end, by whatever, makes it free again."""
        with suppress(BlockingIOError):
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        return False

    def own(self) -> None:
        """Become its owner as soon as nobody is."""
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)

    def disown(self) -> None:
        """Let another process be the owner."""
        fcntl.flock(self._descriptor, fcntl.LOCK_UN)

    # The owner.

    def mark(self, chunk: int) -> None:
        """This chunk is there."""
        self._flags[chunk] = 1
        self.ring()

    def unmark(self, chunk: int) -> None:
        """This chunk is not what it should be, and is to be fetched again."""
        self._flags[chunk] = 0

    def set(self, state: State, reason: str = "") -> None:
        """Say what becomes of the file, and that this boot knows it."""
        text = reason.encode()[:_REASON_BYTES].ljust(_REASON_BYTES, b"\0")
        self._shared.bytes[_REASON_AT : _REASON_AT + _REASON_BYTES] = text
        self._shared.bytes[_BOOT_AT : _BOOT_AT + 16] = boot_id()
        self._shared.bytes[_STATE_AT] = state
        self.ring()

    def ring(self) -> None:
        """Wake whoever waits: something has happened."""
        generation = (self._shared.word(_GENERATION_AT) + 1) & 0xFFFFFFFF
        self._shared.bytes[_GENERATION_AT : _GENERATION_AT + 4] = generation.to_bytes(4, "little")
        self._shared.wake(_GENERATION_AT)

    def is_at(self, path: Path) -> bool:
        """Whether the file is still this one's place, and not another's or nobody's."""
        try:
            return os.path.samestat(os.fstat(self._descriptor), os.stat(path))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Unmap it, and free it if this was its owner."""
        if self._descriptor >= 0:
            self._flags.release()
            self._shared.close()
            os.close(self._descriptor)
            self._descriptor = -1


def boot_id() -> bytes:
    """Sixteen bytes that are others after each start of the machine."""
    return bytes.fromhex(Path("/proc/sys/kernel/random/boot_id").read_text().strip().replace("-", ""))
