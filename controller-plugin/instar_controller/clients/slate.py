"""A slate in a file: two lines, written in turn.

One rule: what `write` has returned from is in the page cache, so that the end of this process, however it comes,
takes nothing with it; a line that is torn leaves the one before it whole. Nothing is ever synced: a line counts as
long as the machine that it was written on has not started anew, and which start that was is in it (`boot_id`).

A line is a digest and JSON. Each of the two has a place of its own, so that the file does not grow; what an earlier,
longer line has left behind the newline is passed over.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path

from instar_controller.cluster_ports import Position, SlateLine
from instar_controller.errors import StoreError
from instar_controller.whisk.values import Json, compact, parse

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
PLACE_BYTES = 1 << 16  # of a line: a note has at most 4,096 bytes, and each partition has one
_DIGEST_BYTES = 8


class SlateFile:
    """See `cluster_ports.Slate`. One process at a time writes a file; it is made when it is first written to."""

    def __init__(self, path: Path, topic: str, *, boot_id: Path = BOOT_ID) -> None:
        """`topic` is what the positions are of: lines of another one count for nothing."""
        self.path = path
        self._topic = topic
        self._boot_id = boot_id
        self._fd: int | None = None
        self._written_in = ""  # this start of the machine, once the file is open
        self._place = 0  # of the next line

    def read(self, life: str) -> SlateLine | None:
        try:
            boot = self._boot()
            with self.path.open("rb") as file:
                written = [os.pread(file.fileno(), PLACE_BYTES, place * PLACE_BYTES) for place in (0, 1)]
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._failure("read", error) from error
        lines = [_parsed(line, boot, self._topic) for line in written]
        found = [(line.serial, place) for place, line in enumerate(lines) if line is not None and line.life == life]
        if not found:
            return None
        _, place = max(found)
        self._place = 1 - place
        return lines[place]

    def write(self, line: SlateLine) -> None:
        try:
            if self._fd is None:
                self._written_in = self._boot()
                self.path.parent.mkdir(parents=True, exist_ok=True)
                self._fd = os.open(self.path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            text = _line(line, self._written_in, self._topic)
            if len(text) > PLACE_BYTES:
                raise StoreError(
                    f"{len(text)} bytes are not written to {self.path}, which has {PLACE_BYTES} for a line: "
                    f"topic {self._topic} has too many partitions"
                )
            written = os.pwrite(self._fd, text, self._place * PLACE_BYTES)
            if written < len(text):
                # Again, for the reason: a disk that is full takes a part, and says so only the next time.
                os.pwrite(self._fd, text[written:], self._place * PLACE_BYTES + written)
                raise OSError(f"only {written} of {len(text)} bytes were taken")
        except OSError as error:
            raise self._failure("write", error) from error
        self._place = 1 - self._place

    def close(self) -> None:
        """Let go of the file; it stays."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def __repr__(self) -> str:
        return f"<SlateFile: {self.path}, of {self._topic}>"

    def _boot(self) -> str:
        return self._boot_id.read_text(encoding="ascii").strip()

    def _failure(self, what: str, error: OSError) -> StoreError:
        why = error.strerror or str(error)
        return StoreError(
            f"cannot {what} how far work was handed over in {self.path}: {why}; check its disk and rights"
        )


def _line(line: SlateLine, boot: str, topic: str) -> bytes:
    positions: Json = {str(partition): [at.offset, at.note] for partition, at in line.positions.items()}
    content = compact([boot, topic, line.life, line.serial, positions]).encode()
    return b"%b\t%b\n" % (_digest(content), content)


def _parsed(written: bytes, boot: str, topic: str) -> SlateLine | None:
    """The line at the beginning of this; None if it is not whole, or of another start of the machine or topic."""
    text, newline, _ = written.partition(b"\n")
    digest, _, content = text.partition(b"\t")
    if not newline or digest != _digest(content):
        return None
    match parse(content):  # whole, so it is one of ours
        case [str(of_boot), str(of_topic), str(life), int(serial), Mapping() as positions]:
            if (of_boot, of_topic) != (boot, topic):
                return None
            return SlateLine(life, serial, {int(key): _position(at) for key, at in positions.items()})
    return None


def _position(at: object) -> Position:
    match at:
        case [int(offset), str(note)]:
            return Position(offset, note)
    raise AssertionError(f"a whole line has a position {at!r}")


def _digest(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_BYTES).hexdigest().encode()
