"""The keeper: takes activation records at once, and has the database keep them when it can.

One rule: a record that was taken is stored once, whatever happens to the database, the disk or this process. It goes
to the spool first, which is a write into the page cache; one thread takes from there what has gathered and writes it
as one batch. A batch whose answer was lost is written again, and a record that is there already is done. Only while
the disk takes nothing do records wait in memory, and they would go with the process.

It is bounded by what is taken on: beyond its limits it `is_full`, and whoever takes work on should stop. Records of
work that is already under way are always taken: they are in memory as it is, and to refuse one is to lose it. What
becomes of a batch is decided in `policies/keeping`.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from instar_controller.clients.spool import Spool
from instar_controller.errors import StoreError
from instar_controller.policies import keeping
from instar_controller.policies.keeping import Answer, Answered, Pace, Patience, Record, Stumbled, Suspect, Verdict
from instar_controller.ports import Clock
from instar_controller.whisk import stored_activation
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.values import compact

logger = logging.getLogger(__name__)


class Shelf(Protocol):
    """Where batches of records go: a database."""

    def write(self, records: Sequence[Record]) -> Answer:
        """Write them, each for itself; one that is there already stays as it is, and counts as kept. Never raises."""


@dataclass(frozen=True, slots=True)
class KeeperLimits:
    """How much waits in memory, while the disk takes nothing, before no more work should be taken on."""

    memory_records: int = 1000
    memory_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class KeeperCounts:
    """Numbers since the start, and three of now: `waiting_bytes`, `in_hand` and `at_risk`."""

    taken: int = 0  # records that were put
    kept: int = 0  # records that the database has; those of an earlier process included
    batches: int = 0  # requests to the database
    retried: int = 0  # requests of those after which something had to be asked again
    unspooled: int = 0  # records that the disk did not take, for which memory had to do
    set_aside: int = 0  # records that the database will never take
    not_set_aside: int = 0  # attempts to set one aside that the disk did not take
    torn: int = 0  # records of an earlier process that were not whole
    waiting_bytes: int = 0  # on the disk, to be taken from there
    at_risk: int = 0  # records that are in memory only
    in_hand: int = 0  # records in memory: of the batch that is being written, and such as are not on the disk


class Keeper:
    """`Records` for the engine. From the moment it is made it owns the spool, and `close` closes that."""

    def __init__(
        self,
        shelf: Shelf,
        spool: Spool,
        clock: Clock,
        *,
        patience: Patience | None = None,
        limits: KeeperLimits | None = None,
    ) -> None:
        self._shelf = shelf
        self._spool = spool
        self._clock = clock
        self._patience = Patience() if patience is None else patience
        self._limits = KeeperLimits() if limits is None else limits
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._ending = threading.Condition(lock)  # what a pause waits for: not for each record that is put meanwhile
        self._counts = KeeperCounts()
        self._putting = 0  # calls of `put_activation` that are under way
        self._is_news = True  # there may be something on the disk: at the start, what an earlier process left
        self._is_closing = self._is_closed = False
        self._not_on_disk: dict[str, Record] = {}  # by id; those in line included
        self._unlined: deque[Record] = deque()  # those of them that are not in line
        self._spool_use = threading.Lock()  # the writing thread's, against `close`
        self._line: list[Record] = []  # what is written next; the writing thread's own, as all that follows
        self._suspects: deque[Suspect] = deque()
        self._was_suspect = False  # the last batch
        self._pace = Pace(self._patience.batch_records)
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)

    def __repr__(self) -> str:
        return f"Keeper({self.counts()})"

    def start(self) -> None:
        """Write from here on, first what an earlier process left."""
        self._thread.start()

    def put_activation(self, activation: Activation) -> None:
        """See `cluster_ports.Records`. Waits for nothing but the disk."""
        document = stored_activation.document(activation, updated_ms=self._clock.now_ms())
        record = Record(str(document["_id"]), compact(document).encode())
        with self._changed:
            self._refuse_if_closing(record)
            self._putting += 1
        try:
            self._spool.append(record)
        except StoreError as error:
            self._remember(record, error)
        finally:
            with self._changed:
                self._putting -= 1
                self._is_news = True
                self._changed.notify_all()
        self._count(taken=1)

    def is_full(self) -> bool:
        """Whether no more work should be taken on until `wait_for_room`."""
        with self._changed:
            return not self._has_room()

    def wait_for_room(self, *, timeout_s: float) -> bool:
        """Return when more work may be taken on, True, or time is up, False."""
        with self._changed:
            return self._changed.wait_for(self._has_room, timeout_s)

    def counts(self) -> KeeperCounts:
        """How much was written and how much waits."""
        with self._changed:
            in_hand = len(self._line) + len(self._suspects) + len(self._unlined)
            waiting_bytes = 0 if self._is_closed else self._spool.waiting_bytes
            return replace(
                self._counts,
                torn=self._spool.torn,
                waiting_bytes=waiting_bytes,
                at_risk=len(self._not_on_disk),
                in_hand=in_hand,
            )

    def close(self, *, deadline_s: float) -> None:
        """Take no more, write what there is for as long as `deadline_s`, and leave the rest to the next process."""
        deadline = time.monotonic() + deadline_s
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
            self._ending.notify_all()
            self._changed.wait_for(lambda: self._putting == 0, deadline_s)
        if self._thread.ident is not None:
            self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._spool_use:
            # The thread may still be waiting for the database. Whatever that says, it does nothing any more.
            with self._changed:
                if self._is_closed:
                    return
                self._is_closed = True
                left = list(self._not_on_disk.values())
                self._changed.notify_all()
                self._ending.notify_all()
            lost = [record.id for record in left if not self._has_appended(record)]
            self._spool.close()
        if lost:
            logger.error("%d records are lost, as neither database nor disk took them: %s", len(lost), lost)

    def write_batch(self) -> bool:
        """Write the next batch, or find that there is none. False: there is nothing to do. For one thread."""
        if not self._line and not self._take():
            return False
        # Suspects and others take turns, so that neither has to wait for the other.
        self._was_suspect = bool(self._suspects) and not (self._was_suspect and self._line)
        if self._was_suspect:
            suspect = self._suspects[0]
            answer = self._ask([suspect.record])
            with self._spool_use:
                verdict = keeping.judge_suspect(suspect, answer, self._pace, self._patience, kept=self._counts.kept)
                if not self._is_closed:
                    self._suspects.popleft()
                    self._carry_out([suspect.record], answer, verdict)
        elif self._line:
            batch = keeping.next_batch(self._line, self._pace, self._patience)
            answer = self._ask(batch)
            with self._spool_use:
                verdict = keeping.judge(batch, answer, self._pace, self._patience, kept=self._counts.kept)
                if not self._is_closed:
                    self._line = [*verdict.again, *self._line[len(batch) :]]
                    self._carry_out(batch, answer, verdict)
        return True

    def _ask(self, records: Sequence[Record]) -> Answer:
        """Have the database write them. A mistake of our own is not to end the thread that everybody relies on."""
        try:
            return self._shelf.write(records)
        except Exception as error:
            logger.exception("writing %d records failed by a mistake of Instar's own", len(records))
            return Stumbled(repr(error))

    def _run(self) -> None:
        while True:
            begun = time.monotonic()
            is_busy = self.write_batch()
            with self._changed:
                if self._is_closed or (self._is_closing and not is_busy and not self._is_news):
                    return
                if is_busy:
                    self._pause(begun)
                else:
                    self._changed.wait_for(lambda: self._is_news or self._is_closing or self._is_closed)

    def _pause(self, begun: float) -> None:
        """Wait until the next batch is due, after one that began then. The end of all is waited for no longer."""
        if self._pace.failures:
            pause_s = keeping.wait_s(self._pace, self._patience, random.random())
        elif self._is_closing or self._line:
            return
        else:
            pause_s = begun + self._patience.interval_s - time.monotonic()
        was_closing = self._is_closing
        self._ending.wait_for(lambda: self._is_closed or self._is_closing != was_closing, max(0.0, pause_s))

    def _take(self) -> bool:
        """Take what comes next. False: there is nothing to write, nor to try again."""
        with self._changed:
            self._is_news = False
            more = [self._unlined.popleft() for _ in range(min(len(self._unlined), self._patience.batch_records))]
        with self._spool_use:
            if self._is_closed:
                return False
            try:
                if not self._suspects:
                    self._spool.release()
                more += self._spool.take(self._patience.batch_records - len(more), self._patience.batch_bytes)
                if not more and not self._suspects:
                    self._pace = replace(self._pace, failures=0)
            except StoreError as error:
                logger.error("%s", error)
                self._is_news, self._pace = True, replace(self._pace, failures=self._pace.failures + 1)
            self._line = more
        return bool(more or self._suspects or self._pace.failures)

    def _carry_out(self, batch: Sequence[Record], answer: Answer, verdict: Verdict) -> None:
        pace = verdict.pace
        suspects = [*verdict.suspects]
        for record, reason in verdict.set_aside:
            if not self._has_set_aside(record, reason):  # it is asked for again, as seldom as anything that fails
                suspects.append(Suspect(record, self._patience.most_stumbles, self._counts.kept, reason))
                pace = replace(pace, failures=self._pace.failures + 1)
        self._suspects.extend(suspects)
        again = {record.id for record in verdict.again} | {suspect.record.id for suspect in suspects}
        set_aside = len(verdict.set_aside) + len(verdict.suspects) - len(suspects)
        self._count(kept=verdict.kept, batches=1, retried=1 if again else 0, set_aside=set_aside)
        with self._changed:
            for record in batch:
                if record.id not in again:
                    self._not_on_disk.pop(record.id, None)
            self._changed.notify_all()
        self._tell(answer, suspects, pace)
        self._pace = pace
        if pace.failures:
            self._secure()

    def _has_set_aside(self, record: Record, reason: str) -> bool:
        """Whether it lies where people find it. If not, it has to wait for that."""
        try:
            self._spool.set_aside(record, reason)
        except StoreError as error:
            self._count(not_set_aside=1)
            if _is_power_of_two(self._counts.not_set_aside):
                logger.warning("the record %s cannot be set aside, and waits: %s", record.id, error)
            return False
        logger.error("the database will not take the record %s, so it is set aside: %s", record.id, reason)
        return True

    def _tell(self, answer: Answer, suspects: Sequence[Suspect], pace: Pace) -> None:
        """One line when it begins to fail, one when it goes on failing for much longer, one when that is over."""
        if self._pace.failures and not pace.failures:
            logger.info("records are written again, after %d failures", self._pace.failures)
        elif _is_power_of_two(pace.failures):
            what = suspects[0].reason if isinstance(answer, Answered) else answer.reason
            logger.warning("records cannot be written, and wait, failure %d: %s", pace.failures, what)

    def _secure(self) -> None:
        """Records are going to stay for longer: have them on the disk, those too which it did not take at first. From
        there they are taken again."""
        with self._changed:
            in_memory = list(self._not_on_disk.values())
        moved: set[str] = set()
        try:
            for record in in_memory:
                self._spool.append(record)
                moved.add(record.id)
            self._spool.sync()
        except StoreError as error:
            logger.debug("%s", error)  # whoever puts a record finds out
        if not moved:
            return
        self._line = [record for record in self._line if record.id not in moved]
        self._suspects = deque(suspect for suspect in self._suspects if suspect.record.id not in moved)
        with self._changed:
            self._unlined = deque(record for record in self._unlined if record.id not in moved)
            for id in moved:
                del self._not_on_disk[id]
            self._is_news = True
            self._changed.notify_all()

    def _remember(self, record: Record, error: StoreError) -> None:
        """Keep a record in memory that the disk did not take. Raises `StoreError` if the end was faster."""
        with self._changed:
            if self._is_closed:
                raise StoreError(f"the record {record.id} comes too late, and the disk does not take it: {error}")
            self._not_on_disk[record.id] = record
            self._unlined.append(record)
        self._count(unspooled=1)
        if _is_power_of_two(self._counts.unspooled):
            logger.warning("record %d that is in memory only, %s: %s", self._counts.unspooled, record.id, error)

    def _has_appended(self, record: Record) -> bool:
        try:
            self._spool.append(record)
        except StoreError:
            return False
        return True

    def _has_room(self) -> bool:
        limits = self._limits
        is_free = len(self._not_on_disk) < limits.memory_records and self._memory_bytes() < limits.memory_bytes
        return self._is_closed or (is_free and not self._spool.is_full)

    def _memory_bytes(self) -> int:
        return sum(len(record.body) for record in self._not_on_disk.values())

    def _refuse_if_closing(self, record: Record) -> None:
        if self._is_closing:
            raise StoreError(f"the record {record.id} comes too late: the keeper has been closed")

    def _count(self, **more: int) -> None:
        with self._changed:
            counts = self._counts
            self._counts = replace(counts, **{name: getattr(counts, name) + count for name, count in more.items()})


def _is_power_of_two(number: int) -> bool:
    return number > 0 and number & (number - 1) == 0
