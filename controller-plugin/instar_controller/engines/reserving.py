"""Has what was handed over survive us: by a commit each time, or, while messages come quickly, by a line on a slate.

One rule: a message is handed over only after bus or slate have it, and the slate counts only beside a *reservation*,
which the bus has had before: a committed note that says up to where messages may be handed over by this life of the
node (`policies/offsets`). So whoever begins anew knows whether there must be a slate, and what is in doubt if there
is none. A commit asks a broker, and waits for it; a line is a write into the page cache.

A reservation ends as soon as messages do not come quickly, and at every end in order: what the bus has is exact then,
and means the same to a stock invoker. While the slate cannot be written each message is committed, and the slate is
left alone for a while.
"""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from instar_controller.cluster_ports import Position, Slate, SlateLine, Subscription
from instar_controller.errors import StoreError
from instar_controller.policies import offsets
from instar_controller.policies.offsets import Kept, Progress, Reservation

logger = logging.getLogger(__name__)


_IN_DOUBT = (
    "partition %s: what an earlier life has noted of how far it had come is lost, with its machine or its state "
    "directory; any message from %s to %s may have been begun, so of these only what may be run again is begun"
)


@dataclass(frozen=True, slots=True)
class ReservingSettings:
    """How far ahead, and when."""

    ahead: int = 64  # messages: so many may be in doubt if the machine is lost
    quick_s: float = 0.25  # messages come quickly if no more than this passes between two
    rest_s: float = 5.0  # for a slate that could not be written


class Reserving:
    """Of one reader. For one thread."""

    def __init__(
        self,
        slate: Slate | None,
        settings: ReservingSettings | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Without a slate everything is committed."""
        self._slate = slate
        self._settings = settings or ReservingSettings()
        self._now = now
        self._life = secrets.token_hex(6)
        self._serial = 0
        self._kept: dict[int, Position] = {}  # exact, by partition: what bus or slate have …
        self._eras: dict[int, int] = {}  # … of the topic as it was then: what was kept of one made anew went with it
        self._reserved: dict[int, tuple[int, int]] = {}  # by partition, where what we have reserved ends, and its era
        self._inexact: set[int] = set()  # partitions of which the bus may have a reservation, whosever it is
        self._handed: dict[int, tuple[int, int]] = {}  # by partition, its era and how far it was handed over …
        self._handed_s = float("-inf")  # … and when that grew last
        self._is_written = False  # whether a line of ours is on the slate, and none was refused since
        self._has_failed = False  # whether the last one was
        self._rests_until_s = float("-inf")

    def resume(self, reader: Subscription) -> dict[int, Progress]:
        """How far the group had come, by partition."""
        ends = reader.ends()
        found = {}
        for partition, position in reader.positions().items():
            reserved = offsets.reservation(position.note)
            kept = None if reserved is None else self._kept_by(reserved.life, partition)
            end = ends.get(partition, position.offset)
            progress = found[partition] = offsets.taken_up(position.offset, position.note, kept, end=end)
            self._kept[partition] = Position(*offsets.committed(progress))
            self._handed[partition] = (progress.era, progress.handed)
            if reserved is not None:
                self._inexact.add(partition)
                if kept is None and progress.doubted > position.offset:
                    logger.error(_IN_DOUBT, partition, position.offset, progress.doubted - 1)
        return found

    def keep(self, reader: Subscription, progress: Mapping[int, Progress]) -> bool:
        """Have this survive us; whether there was anything new to keep. Raises `BusError`; then it may, or not."""
        news = self._news(progress)
        if not news:
            return False
        comes_quickly = self._comes_quickly(progress)
        if self._covers(progress, news) and self._write({**self._kept, **_exact(progress)}):
            self._remember(progress)
        elif comes_quickly and self._can_reserve():
            self._commit(reader, progress, news, ahead=self._settings.ahead)
        else:
            self._commit(reader, progress, news, ahead=0)
        return True

    @property
    def is_due(self) -> bool:
        """Whether the bus should have exact positions again: it may have others, and messages do not come quickly."""
        return bool(self._inexact) and self._now() - self._handed_s > self._settings.quick_s

    def settle(self, reader: Subscription, progress: Mapping[int, Progress]) -> None:
        """Have the bus know exactly this, and end what is reserved. Raises `BusError`; then it may know, or not."""
        news = self._news(progress)
        if news or self._inexact:
            self._commit(reader, progress, news, ahead=0)

    def _kept_by(self, life: str, partition: int) -> Kept | None:
        """What this life has written last of this partition; None if that is lost."""
        try:
            line = None if self._slate is None else self._slate.read(life)
        except StoreError as error:
            logger.error("%s", error)
            return None
        if line is None:
            return None
        position = line.positions.get(partition)
        # A line without this partition is older than its first commit.
        return Kept(0, "", -1) if position is None else Kept(position.offset, position.note, line.serial)

    def _news(self, progress: Mapping[int, Progress]) -> set[int]:
        """The partitions of which this is not kept yet."""
        return {
            partition
            for partition, at in _exact(progress).items()
            if self._kept.get(partition) != at or self._eras.get(partition, 0) != progress[partition].era
        }

    def _remember(self, progress: Mapping[int, Progress]) -> None:
        """This is kept."""
        self._kept.update(_exact(progress))
        self._eras.update({partition: at.era for partition, at in progress.items()})

    def _comes_quickly(self, progress: Mapping[int, Progress]) -> bool:
        """Whether there are messages that were not handed over, soon after those before them."""
        handed = {partition: (at.era, at.handed) for partition, at in progress.items()}
        if handed == self._handed:
            return False
        before_s, self._handed_s, self._handed = self._handed_s, self._now(), handed
        return self._handed_s - before_s <= self._settings.quick_s

    def _covers(self, progress: Mapping[int, Progress], news: Iterable[int]) -> bool:
        """Whether the bus knows that this may be on the slate."""
        for partition in news:
            end, era = self._reserved.get(partition, (-1, -1))
            if progress[partition].era != era or progress[partition].handed > end:
                return False
        return True

    def _can_reserve(self) -> bool:
        """Whether there is a slate that has been seen to work. Whoever finds a reservation of ours without a line of
        ours beside it must know that it is lost."""
        return self._is_written or self._write(self._kept)

    def _write(self, positions: Mapping[int, Position]) -> bool:
        if self._slate is None or self._now() < self._rests_until_s:
            return False
        try:
            self._slate.write(SlateLine(self._life, self._next_serial(), positions))
        except StoreError as error:
            level = logging.DEBUG if self._has_failed else logging.WARNING
            logger.log(level, "%s; each message is committed instead", error)
            self._is_written, self._has_failed = False, True
            self._rests_until_s = self._now() + self._settings.rest_s
            return False
        self._is_written, self._has_failed = True, False
        return True

    def _commit(
        self, reader: Subscription, progress: Mapping[int, Progress], news: Iterable[int], *, ahead: int
    ) -> None:
        """Tell the bus, and reserve so many messages. What others have reserved ends with that."""
        serial = self._next_serial()
        positions, reserved = {}, {}
        for partition in {*news, *self._inexact}:
            at = progress[partition]
            reservation = Reservation(at.handed + ahead, self._life, serial) if ahead else None
            positions[partition] = Position(*offsets.committed(at, reservation))
            if reservation is not None:
                reserved[partition] = (reservation.end, at.era)
        self._inexact.update(positions)  # if this fails nobody knows what the bus has
        self._reserved.clear()
        reader.commit(positions)
        self._remember(progress)
        self._reserved.update(reserved)
        if not ahead:
            self._inexact.clear()

    def _next_serial(self) -> int:
        self._serial += 1
        return self._serial


def _exact(progress: Mapping[int, Progress]) -> dict[int, Position]:
    return {partition: Position(*offsets.committed(at)) for partition, at in progress.items()}
