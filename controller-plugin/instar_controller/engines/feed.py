"""How far the changes of a database were read, and what to do when that place is not there any more.

One rule: the position moves only when its reader says so, after everything before it was seen to. So whatever fails
is read again, and a document that changed often meanwhile comes once, as it is then.

A database that was made anew counts from the beginning, so its end lies before our position; or it takes the position
for nonsense, though it answers otherwise. Then everything is read from the beginning, and what is not found there by
the time the end is reached is no more. Where a new database has already come further than the old one, CouchDB itself
begins from the beginning, for the place is of another database.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from instar_controller.cluster_ports import Change, Changes
from instar_controller.errors import StoreError

logger = logging.getLogger(__name__)

BEGINNING = "0"
AT_A_TIME = 200  # changes: with their documents up to some megabytes
REFUSALS = 3  # of a position by a database that answers otherwise
ANEW_S = 600.0  # at most so often; replicas of CouchDB may count a little differently


class Changing(Protocol):
    """A database with a feed of its changes: `Entities` or `Documents`."""

    def changes(self, since: str, *, timeout_s: float, most: int) -> Changes:
        """See `Entities.changes`."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Changes, oldest first, and where they end; whether that was the end of the feed; and all documents that there
    are, where this ends a reading from the beginning."""

    changes: Sequence[Change]
    next: str
    is_last: bool
    present: Collection[str] | None = None  # ids


class Feed:
    """A reader of a database's changes. For one thread.

    `position` is where to go on; `is_anew` says that it began from the beginning, and has not reached the end yet.
    """

    def __init__(
        self, database: Changing, position: str | None, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._database = database
        self._now_s = now_s
        self._refusals = 0
        self._last_anew_s: float | None = None
        self.position = position or BEGINNING
        self.is_anew = position is None
        self._present: set[str] = set()  # as far as it was read anew

    def read(self, *, timeout_s: float) -> Batch:
        """What comes after the position; waits for `timeout_s` if that is nothing. Raises `StoreError`."""
        try:
            found = self._database.changes(self.position, timeout_s=timeout_s, most=AT_A_TIME)
        except StoreError:
            self._count_refusal()
            raise
        self._refusals = 0
        is_last = len(found.entries) < AT_A_TIME
        if not found.entries and self._lies_behind(self._end()):
            self._begin_anew("the database is another one, with fewer changes")
            return Batch((), self.position, is_last=False)
        if not self.is_anew:
            return Batch(found.entries, found.next, is_last)
        self._present -= {change.id for change in found.entries}
        self._present |= {change.id for change in found.entries if not change.is_deleted}
        return Batch(found.entries, found.next, is_last, frozenset(self._present) if is_last else None)

    def advance(self, batch: Batch) -> None:
        """Everything in this batch was seen to."""
        self.position = batch.next
        if batch.is_last:
            self.is_anew = False
            self._present.clear()

    def _end(self) -> str:
        return self._database.changes("now", timeout_s=0, most=1).next

    def _lies_behind(self, end: str) -> bool:
        """Whether the position is one that a database with this end cannot have given us."""
        here, last = _count(self.position), _count(end)
        if here is None or last is None or last >= here:
            return False
        return self._last_anew_s is None or self._now_s() >= self._last_anew_s + ANEW_S

    def _count_refusal(self) -> None:
        if self.position == BEGINNING:
            return
        self._end()  # raises if it is not the position's fault
        self._refusals += 1
        if self._refusals >= REFUSALS:
            self._begin_anew("the database refuses this place, and answers otherwise")

    def _begin_anew(self, why: str) -> None:
        logger.warning("all changes are read again from the beginning, not from %s: %s", self.position[:40], why)
        self._last_anew_s = self._now_s()
        self._refusals = 0
        self.position = BEGINNING
        self.is_anew = True
        self._present.clear()


def _count(position: str) -> int | None:
    """The number that a place in the feed begins with: how many changes lie before it, about."""
    found = re.match(r"\d+", position)
    return int(found[0]) if found else None
