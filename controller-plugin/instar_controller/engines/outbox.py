"""Messages that have to arrive, however long the bus does not answer.

One rule: whoever sends one waits for nothing, and is told once the bus has it. What the bus did not take is sent
again, oldest first, with growing pauses, and what is sent meanwhile queues behind it: so messages of one topic come
in order but for those that were under way together when the bus failed.
"""

from __future__ import annotations

import contextvars
import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field

from instar_controller.cluster_ports import Bus
from instar_controller.errors import BusError, MessageTooLargeError

logger = logging.getLogger(__name__)


def _nothing() -> None:
    pass


def _always() -> bool:
    return True


@dataclass(frozen=True, slots=True)
class Parcel:
    """One message. `smaller` makes another one, for a bus that will never take this; `is_wanted` is asked just before
    it is sent, and `on_sent` told when there is nothing left to do for it. Neither may wait. What becomes of it is
    logged in the `context` in which it was made: it is about the same activation.
    """

    topic: str
    value: bytes
    smaller: Callable[[], bytes] | None = None
    is_wanted: Callable[[], bool] = _always
    on_sent: Callable[[], None] = _nothing
    context: contextvars.Context = field(default_factory=contextvars.copy_context, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class OutboxSettings:
    """How patient it is."""

    first_pause_s: float = 0.1  # after a message was not taken
    longest_pause_s: float = 5.0


class Outbox:
    """Sends parcels. Safe for several threads; `start` it before use, `close` it after."""

    def __init__(self, bus: Bus, settings: OutboxSettings | None = None) -> None:
        self._bus = bus
        self._settings = settings or OutboxSettings()
        self._lock = threading.Lock()  # guards what follows
        # Whoever waits is woken only for what it waits for: messages come and go by the thousand.
        self._due = threading.Condition(self._lock)  # something waits to be sent again, or we are closed
        self._quiet = threading.Condition(self._lock)  # nothing is under way
        self._numbers = itertools.count()
        self._waiting: list[tuple[int, Parcel]] = []  # a heap: what the bus did not take, oldest first
        self._under_way = 0
        self._is_resending = False  # the oldest one is out of the heap, and not with the bus yet
        self._is_closed = False
        self.retried = 0
        self._again = threading.Thread(target=self._send_again, name="instar-outbox", daemon=True)

    def start(self) -> None:
        self._again.start()

    def send(self, parcel: Parcel) -> None:
        """Have it sent. Never raises."""
        with self._lock:
            number = next(self._numbers)
            if self._waiting or self._is_resending:
                heapq.heappush(self._waiting, (number, parcel))
                return
            self._under_way += 1
        self._hand_over(number, parcel)

    @property
    def waiting(self) -> int:
        """Parcels that the bus has not taken yet."""
        with self._lock:
            return len(self._waiting) + self._under_way

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is under way: what the bus did not take so far may wait, and is asked for again."""
        return not self._under_way

    def close(self, timeout_s: float) -> int:
        """Wait until all is sent, but not for longer than this; how many were not."""
        with self._lock:
            self._quiet.wait_for(lambda: not self._waiting and not self._under_way, timeout_s)
            self._is_closed = True
            self._due.notify_all()
            self._quiet.notify_all()
            left = len(self._waiting) + self._under_way
        self._again.join()
        return left

    def _hand_over(self, number: int, parcel: Parcel) -> None:
        """Send a parcel that counts as under way."""
        if not parcel.is_wanted():
            self._settled(parcel)
            return
        self._bus.send(parcel.topic, parcel.value).add_done_callback(
            lambda future: parcel.context.run(self._heard, number, parcel, future)
        )

    def _heard(self, number: int, parcel: Parcel, future: Future[None]) -> None:
        match future.exception():
            case None:
                self._settled(parcel)
            case MessageTooLargeError() as error if parcel.smaller is not None:
                logger.warning("%s; it is sent without its bulk", error)
                small = Parcel(parcel.topic, parcel.smaller(), None, parcel.is_wanted, parcel.on_sent)
                self._hand_over(number, small)
            case MessageTooLargeError() as error:
                logger.error("%s; it is lost", error)
                self._settled(parcel)
            case BusError() as error:
                self._keep(number, parcel, error)
            case error:
                logger.error("a message to %s was not sent for a mistake of ours: %r", parcel.topic, error)
                self._keep(number, parcel, BusError(repr(error)))

    def _keep(self, number: int, parcel: Parcel, error: BusError) -> None:
        with self._lock:
            if not self._waiting:
                logger.warning("%s; it is sent again", error)
            self._under_way -= 1
            self.retried += 1
            heapq.heappush(self._waiting, (number, parcel))
            self._tell_if_quiet()

    def _settled(self, parcel: Parcel) -> None:
        try:
            parcel.on_sent()
        except Exception:  # a mistake of who is told
            logger.exception("nobody heard that a message to %s was sent", parcel.topic)
        with self._lock:
            self._under_way -= 1
            self._tell_if_quiet()

    def _tell_if_quiet(self) -> None:
        """With the lock held."""
        if self._under_way:
            return
        self._quiet.notify_all()
        if self._waiting:
            self._due.notify_all()

    def _send_again(self) -> None:
        pause_s = 0.0
        while True:
            with self._lock:
                if pause_s:
                    until_s = time.monotonic() + pause_s
                    self._due.wait_for(lambda: self._is_closed, until_s - time.monotonic())
                # Those under way may fail too, and are older.
                self._due.wait_for(lambda: self._is_closed or (bool(self._waiting) and not self._under_way))
                if self._is_closed:
                    return
                number, parcel = heapq.heappop(self._waiting)
                self._under_way += 1
                self._is_resending = True
                before = self.retried
            self._hand_over(number, parcel)
            with self._lock:
                self._is_resending = False
                self._quiet.wait_for(lambda: self._is_closed or not self._under_way)
                if self.retried == before:
                    pause_s = 0.0
                else:
                    pause_s = min(max(self._settings.first_pause_s, 2 * pause_s), self._settings.longest_pause_s)
