"""What was read of a topic and is not settled: how far its position may be committed.

One rule: the position of a partition is the lowest offset that is not settled, so that whoever reads from there on
misses nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """Where a message lies. `serial` counts the messages of all partitions as they were read."""

    partition: int
    offset: int
    serial: int


@dataclass(slots=True)
class Bookmark:
    """A place in another topic, from which on everything lies that belongs to what is not committed here."""

    value: int
    candidate: tuple[int, int] | None = None  # the next value, once all messages before that serial are settled

    def move(self, now_at: int, window: Window) -> None:
        """What is read from now on belongs to nothing before `now_at`."""
        if not window.is_caught_up:
            return
        if self.candidate is not None and window.oldest >= self.candidate[1]:
            self.value, self.candidate = max(self.value, self.candidate[0]), None
        if self.candidate is None:
            self.candidate = (now_at, window.serial)


class Window:
    """For one thread at a time."""

    def __init__(self, positions: Mapping[int, int]) -> None:
        self._next = dict(positions)  # by partition: beyond all that was read
        self._open: dict[int, Place] = {}  # by serial, in its order
        self._serial = 0
        self._ends: dict[int, int] = {}  # by partition: an earlier run has read so far

    def expect(self, partition: int, end: int) -> None:
        """An earlier run has read up to here, and may have acted upon it: that is to be read again."""
        self._ends[partition] = max(end, self._ends.get(partition, 0))

    @property
    def is_caught_up(self) -> bool:
        """Whether everything was read again that an earlier run has read."""
        return all(self._next.get(partition, 0) >= end for partition, end in self._ends.items())

    @property
    def next(self) -> Mapping[int, int]:
        """By partition, the offset beyond all that was read."""
        return self._next

    @property
    def serial(self) -> int:
        """What the next message will get."""
        return self._serial

    @property
    def oldest(self) -> int:
        """The serial before which everything is settled."""
        return next(iter(self._open), self._serial)

    def read(self, partition: int, offset: int) -> Place:
        """A message was read."""
        place = Place(partition, offset, self._serial)
        self._serial += 1
        self._open[place.serial] = place
        self._next[partition] = offset + 1
        return place

    def settle(self, place: Place) -> bool:
        """Nobody needs it again. Whether somebody did until now: settling twice changes nothing."""
        return self._open.pop(place.serial, None) is not None

    def positions(self) -> dict[int, int]:
        """What may be committed, by partition."""
        found = dict(self._next)
        for place in self._open.values():
            found[place.partition] = min(found[place.partition], place.offset)
        return found

    def __len__(self) -> int:
        return len(self._open)
