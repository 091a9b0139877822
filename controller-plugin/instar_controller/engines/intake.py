"""Reads a node's topic of work, and hands each message over, once.

One rule: a message is begun only after it was kept that it has been handed over (`engines/reserving`), so a crash
never runs it twice. One whose action may be run again, or that nobody could look up yet, stays open in what is kept
(`policies/offsets`), and is read again after a crash; everything else is not. One that may have been begun before, as
nobody knows any more, is begun only if its action may be run again.

No more is read than there is room for: neither more messages than may be unfinished, nor any while records pile up.
So nobody is ever told that we are overloaded; work waits in its topic, where it is safe. One thread reads, keeps and
begins; it waits for the database only a moment, so that work which is known does not wait for work which is not.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Protocol

from instar_controller.cluster_ports import Bus, From, Message, Slate, Subscription
from instar_controller.engines.acknowledging import Observer
from instar_controller.engines.bookmark import Bookmark
from instar_controller.engines.duplicates import Duplicates
from instar_controller.engines.preparing import Prepared, Runnable
from instar_controller.engines.reserving import Reserving, ReservingSettings
from instar_controller.engines.sources import Assignment, Source
from instar_controller.errors import BusError, MalformedError
from instar_controller.policies.offsets import Place

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Arrival:
    """An assignment that is ours to carry out, where it was read, and when on the monotonic clock."""

    assignment: Assignment
    place: Place
    read_s: float


class Desk(Protocol):
    """Who carries out what is read."""

    def look(self, assignment: Assignment) -> Prepared | None:
        """What an assignment comes to, if that can be told without waiting."""

    def prepare(self, assignment: Assignment) -> Prepared:
        """What an assignment comes to; called by several threads. Neither this nor `look` ever raises."""

    def begin(self, arrival: Arrival, prepared: Prepared) -> None:
        """Carry it out, without waiting for that; call `Intake.finished` once it is answered. Never raises."""

    def wait_for_room(self, timeout_s: float) -> bool:
        """Whether records can be kept; waits for that a while."""


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """How much, and how patiently."""

    most_unfinished: int = 16  # of those that were read: they run, or wait for a container or their answer to leave
    poll_s: float = 0.5  # for messages, if there is nothing else to do
    short_poll_s: float = 0.01  # the same while actions are being looked up
    patience_s: float = 0.05  # with the database, before other messages are read
    retry_s: float = 0.2  # after the bus has failed; doubles with each failure in a row
    longest_retry_s: float = 5.0
    lookups: int = 8  # at once
    reserving: ReservingSettings = field(default_factory=ReservingSettings)


class Intake:
    """The reader of one source. `start` it, `stop` it, and `close` it once everything is finished."""

    def __init__(
        self,
        bus: Bus,
        source: Source,
        desk: Desk,
        observer: Observer,
        settings: IntakeSettings | None = None,
        slate: Slate | None = None,
    ) -> None:
        """Without a slate each message is committed on its own before it is begun."""
        self._bus = bus
        self._source = source
        self._desk = desk
        self._observer = observer
        self._settings = settings or IntakeSettings()
        self._duplicates = Duplicates()
        self._changed = threading.Condition()  # guards what follows
        self._unfinished = 0
        self._prepared: deque[tuple[Arrival, Prepared]] = deque()
        self._open: set[Place] = set()  # of what was begun, and may be run again
        self._closed: list[Place] = []  # of those, what is finished
        self._lookups = 0
        self._is_stopping = False
        self._has_stopped = False
        self._is_closing = False
        # What follows is the reader's alone.
        self._bookmark = Bookmark(Reserving(slate, self._settings.reserving))
        self._due: list[tuple[Arrival, Prepared]] = []
        self._taken: list[Assignment] = []  # since something was kept last
        self._begun_lookups = 0
        self._failures = 0
        self._hands = ThreadPoolExecutor(self._settings.lookups, "instar-lookup")
        self._thread = threading.Thread(target=self._run, name="instar-intake", daemon=True)

    def start(self) -> None:
        """Begin to read, as soon as the bus is there."""
        self._thread.start()

    def stop(self) -> None:
        """Read no more; what was read is begun, unless we are closed before."""
        with self._changed:
            self._is_stopping = True
            self._changed.notify_all()

    def wait_until_finished(self, timeout_s: float) -> bool:
        """Whether everything that was read is finished, and nothing more is read if we are stopped; at the latest
        after so many seconds.
        """
        with self._changed:
            return self._changed.wait_for(
                lambda: self._unfinished == 0 and self._has_stopped == self._is_stopping, timeout_s
            )

    def close(self) -> None:
        """Have the bus know how far we are, and let go. What was not begun never is; it stays open if we are the ones
        to run it again, as does what is not finished and may be run again.
        """
        self.stop()
        with self._changed:
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()
        self._hands.shutdown(wait=False, cancel_futures=True)

    def finished(self, arrival: Arrival) -> None:
        """It is answered, and need not be run again. To be called once for each that was begun, by any thread."""
        self._duplicates.finish(arrival.assignment)
        with self._changed:
            self._unfinished -= 1
            if arrival.place in self._open:
                self._open.discard(arrival.place)
                self._closed.append(arrival.place)
            self._changed.notify_all()

    @property
    def unfinished(self) -> int:
        """Messages that were read and are not finished."""
        return self._unfinished

    def __repr__(self) -> str:
        return f"<Intake: {self._source.topic}, {self._unfinished} unfinished, {self._lookups} looked up>"

    # The reader's thread.

    def _run(self) -> None:
        subscription = self._subscribe()
        if subscription is None:
            self._stopped()
            return
        try:
            self._read_on(subscription)
            self._stopped()
            self._finish_off(subscription)
        except Exception:  # a mistake of ours: it must be seen, for nothing is read from here on
            logger.critical("nothing is read any more from %s", self._source.topic, exc_info=True)
            raise
        finally:
            self._stopped()
            with contextlib.suppress(BusError):  # it was only to be let go
                subscription.close()

    def _subscribe(self) -> Subscription | None:
        """A reader that begins where we were; None if we are stopped before there is one."""
        while not self._is_stopping:
            try:
                reader = self._bus.subscribe(self._source.topic, self._source.group, begin=From.EARLIEST)
            except BusError as error:
                self._failed(error)
                continue
            self._failures = 0
            self._bookmark.resume(reader, runs_again=self._source.runs_again)
            self._source.begin(self._bookmark.handed)
            return reader
        return None

    def _read_on(self, reader: Subscription) -> None:
        while not self._is_stopping:
            room = self._room()
            if room > 0 and self._desk.wait_for_room(self._settings.poll_s):
                messages = self._poll(reader, room)
                if self._is_stopping:
                    return  # nobody has seen them: they come again
                if self._receive(messages):
                    self._hand_over(reader)  # what is known, before we wait for what is not
                    self._wait_for_lookups()
            self._collect()
            self._hand_over(reader)
            if self._bookmark.is_due:
                self._settle(reader)

    def _stopped(self) -> None:
        with self._changed:
            self._has_stopped = True
            self._changed.notify_all()

    def _finish_off(self, reader: Subscription) -> None:
        """What was read is still begun; then everything that finishes is kept, until we are closed."""
        self._settle(reader)
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._is_closing or self._prepared or self._closed or self._due)
                is_last = self._is_closing
            self._collect()
            if is_last:
                break
            self._hand_over(reader)
        self._settle(reader)

    def _room(self) -> int:
        """How many messages may be read now; waits a while if that is none."""

        def room() -> int:
            return 0 if self._bookmark.is_full else self._settings.most_unfinished - self._unfinished

        with self._changed:
            if room() <= 0:
                self._changed.wait_for(
                    lambda: room() > 0 or self._is_stopping or self._prepared or self._closed, self._settings.poll_s
                )
            return room()

    def _poll(self, reader: Subscription, most: int) -> Iterable[Message]:
        timeout_s = self._settings.short_poll_s if self._lookups or self._closed else self._settings.poll_s
        try:
            found = reader.poll(timeout_s=timeout_s, most=most)
        except BusError as error:
            self._failed(error)
            return ()
        self._failures = 0
        return found

    def _receive(self, messages: Iterable[Message]) -> bool:
        """Take messages in; whether any of them have to be looked up."""
        before = self._begun_lookups
        for message in messages:
            if (place := self._bookmark.receive(message)) is None:
                continue
            if (assignment := self._understand(message)) is None:
                self._bookmark.close(place)
            else:
                self._take(Arrival(assignment, place, time.monotonic()))
        return self._begun_lookups > before

    def _understand(self, message: Message) -> Assignment | None:
        """What a message asks of us; None if that is nothing that can be done."""
        try:
            assignment = self._source.read(message)
        except MalformedError as error:
            where = f"{self._source.topic}, partition {message.partition}, offset {message.offset}"
            logger.error("a message of %s bytes (%s) is passed over: %s", len(message.value), where, error)
            self._observer.read("unparsable")
            return None
        except Exception:  # a mistake of ours must not stop everybody else's work
            logger.exception("a message at offset %s of %s cannot be read", message.offset, self._source.topic)
            self._observer.read("unparsable")
            return None
        if assignment is None:
            self._observer.read("not ours")
        elif not self._duplicates.admit(assignment):
            logger.warning("activation %s came again and is passed over", assignment.message)
            self._observer.read("duplicate")
            return None
        return assignment

    def _take(self, arrival: Arrival) -> None:
        with self._changed:
            self._unfinished += 1
        self._taken.append(arrival.assignment)
        prepared = self._desk.look(arrival.assignment)
        if prepared is not None:
            self._due.append((arrival, prepared))
            return
        if not self._source.runs_again:
            self._bookmark.close(arrival.place)
        self._begun_lookups += 1
        with self._changed:
            self._lookups += 1
        looked_up = self._hands.submit(self._desk.prepare, arrival.assignment)
        looked_up.add_done_callback(lambda future: self._looked_up(arrival, future))

    def _looked_up(self, arrival: Arrival, future: Future[Prepared]) -> None:
        if future.cancelled():
            return
        with self._changed:
            self._lookups -= 1
            self._prepared.append((arrival, future.result()))
            self._changed.notify_all()

    def _wait_for_lookups(self) -> None:
        """Lookups were begun: give the database a moment, which it seldom takes."""
        with self._changed:
            self._changed.wait_for(lambda: not self._lookups or self._is_closing, self._settings.patience_s)

    def _collect(self) -> None:
        """What has been looked up is due; what is finished is closed."""
        with self._changed:
            self._due += self._prepared
            self._prepared.clear()
            closed, self._closed = self._closed, []
        for place in closed:
            self._bookmark.close(place)

    def _hand_over(self, reader: Subscription) -> None:
        """Have it kept that what is due is handed over, and begin it."""
        for_good = [arrival.place for arrival, prepared in self._due if not self._may_run_again(prepared)]
        if not self._keep(reader, for_good):
            return  # what is due stays so, and is not handed over
        due, self._due = self._due, []
        with self._changed:
            self._open.update({arrival.place for arrival, _ in due} - set(for_good))
        for arrival, prepared in due:
            if arrival.place.is_doubtful and not self._may_run_again(prepared):
                self._leave(arrival, "in doubt", "it may have been begun by an earlier life")
            else:
                self._begin(arrival, prepared)

    def _may_run_again(self, prepared: Prepared) -> bool:
        return self._source.runs_again and isinstance(prepared, Runnable) and prepared.may_run_again

    def _begin(self, arrival: Arrival, prepared: Prepared) -> None:
        if self._source.may_act(arrival.assignment):
            self._desk.begin(arrival, prepared)
            return
        self._source.give_up(arrival.assignment)
        self._leave(arrival, "fenced", "it is somebody else's now")

    def _leave(self, arrival: Arrival, fate: str, why: str) -> None:
        logger.warning("activation %s is not begun: %s", arrival.assignment.message, why)
        self._observer.read(fate)
        self.finished(arrival)

    def _keep(self, reader: Subscription, places: Iterable[Place]) -> bool:
        """Whether it is kept how far we are, these places closed."""
        try:
            is_news = self._bookmark.keep(reader, places)
        except BusError as error:
            self._failed(error)
            return False
        if is_news:
            self._failures = 0
            taken, self._taken = self._taken, []
            self._source.take_over(self._bookmark.handed, taken)
        return True

    def _settle(self, reader: Subscription) -> None:
        """Have the bus itself know how far we are, if we are the ones to go on there."""
        if not self._source.runs_again:
            return
        try:
            self._bookmark.settle(reader)
        except BusError as error:
            self._failed(error)

    def _failed(self, error: BusError) -> None:
        """The bus has failed us: wait a while, longer each time."""
        level = logging.WARNING if self._failures == 0 else logging.DEBUG
        logger.log(level, "%s; it is tried again", error)
        pause_s = min(self._settings.retry_s * 2**self._failures, self._settings.longest_retry_s)
        self._failures = min(self._failures + 1, 20)
        with self._changed:
            before = self._is_stopping
            self._changed.wait_for(lambda: self._is_closing or self._is_stopping != before, pause_s)
