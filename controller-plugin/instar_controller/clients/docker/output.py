"""What a container writes, as the engine's API sends it: frames, each a line or a piece of one.

A frame is eight bytes of header (the stream's number, three zeros, the length as a 32-bit number, most
significant byte first) and its text, which begins with the time at which the engine read it. The engine's
json-file cuts a line into pieces of 16 KiB, each a frame with a time of its own.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO

from instar_controller.errors import ContainerError

HEADER = struct.Struct(">BxxxL")
STREAMS = {1: "stdout", 2: "stderr"}


@dataclass(frozen=True, slots=True)
class Frame:
    """A piece of a stream; it ends with a newline where the line does. `written_ns`: epoch nanoseconds."""

    stream: str
    written_ns: int
    data: bytes


def frames(source: IO[bytes]) -> Iterator[Frame]:
    """The frames until the source ends. Raises `ContainerError` where it ends within one or is none."""
    while header := source.read(HEADER.size):
        if len(header) < HEADER.size:
            raise ContainerError("the engine's log ends within a frame")
        number, length = HEADER.unpack(header)
        content = source.read(length)
        if len(content) < length or number not in STREAMS:
            raise ContainerError(f"the engine's log has no whole frame: stream {number}, {length} bytes")
        moment, _, data = content.partition(b" ")
        yield Frame(STREAMS[number], epoch_ns(moment.decode("ascii", errors="replace")), data)


def epoch_ns(moment: str) -> int:
    """Epoch nanoseconds of `2026-01-31T00:00:00.123456789Z`. Raises `ContainerError` if it is no time."""
    whole, _, fraction = moment.removesuffix("Z").partition(".")
    try:
        seconds = int(datetime.strptime(whole, "%Y-%m-%dT%H:%M:%S").replace(tzinfo=UTC).timestamp())
        return seconds * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))
    except ValueError as error:
        raise ContainerError(f"the engine's log has a line without its time: {moment!r}") from error
