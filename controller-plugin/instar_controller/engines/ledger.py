"""What a node has taken over from dispatchers and not finished; tells each dispatcher when its work is done.

One rule: an activation is in the book from the moment that the node's position is beyond it until its completion is
on the bus, and a dispatcher is told that it is done until the bus has that, too.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass

from instar_controller.cluster_ports import Bus
from instar_controller.engines.envelopes import Envelope
from instar_controller.engines.reports import Report
from instar_controller.engines.topics import Topics
from instar_controller.errors import MessageTooLargeError
from instar_controller.policies.nodes import Member, Unfinished
from instar_controller.whisk.activation import ActivationId

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 10_000  # ids in one report: half of what fits


@dataclass(frozen=True, slots=True)
class Taken:
    """An envelope that was taken over, and the offset at which it came."""

    offset: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Page:
    """The book at one moment, as one life of the node has it."""

    position: int
    unfinished: Mapping[int, tuple[Unfinished, ...]]  # by dispatcher
    busy_mb: Mapping[int, int]


class Ledger:
    """Safe for several threads."""

    def __init__(self, bus: Bus, topics: Topics, name: str) -> None:
        self._bus = bus
        self._topics = topics
        self._name = name
        self._lock = threading.Lock()  # for what follows
        self._position = 0
        self._open: dict[ActivationId, Taken] = {}
        self._done: dict[tuple[int, str], list[ActivationId]] = defaultdict(list)  # by dispatcher and life
        self._telling: set[tuple[int, str]] = set()  # of whom a report is on its way

    def begin(self, position: int) -> None:
        """The node reads on from this offset of its topic."""
        with self._lock:
            self._position = position

    def take_over(self, position: int, taken: Iterable[Taken]) -> None:
        """The node's position in its topic is committed; of what lies before it, these are going to be carried out."""
        with self._lock:
            self._position = max(self._position, position)
            self._open.update((it.envelope.message.activation_id, it) for it in taken)

    def forget(self, id: ActivationId) -> None:
        """It was not begun after all; what becomes of it is its dispatcher's business."""
        with self._lock:
            self._open.pop(id, None)

    def finish(self, id: ActivationId) -> None:
        """The completion of this activation is on the bus. Its dispatcher gets to know."""
        with self._lock:
            taken = self._open.pop(id, None)
            if taken is None:
                return
            whose = (taken.envelope.instance.number, taken.envelope.incarnation)
            self._done[whose].append(id)
        self._tell(whose)

    def tell(self) -> None:
        """Tell again what the bus did not take."""
        with self._lock:
            untold = [whose for whose, done in self._done.items() if done]
        for whose in untold:
            self._tell(whose)

    def page(self, incarnation: str) -> Page:
        """What this life of the node has taken over and not finished, and how far it has come."""
        unfinished: dict[int, list[Unfinished]] = defaultdict(list)
        busy_mb: dict[int, int] = defaultdict(int)
        with self._lock:
            position = self._position
            for id, taken in self._open.items():
                number = taken.envelope.instance.number
                busy_mb[number] += taken.envelope.memory_mb
                if taken.envelope.incarnation == incarnation:
                    unfinished[number].append(Unfinished(id, taken.offset))
        return Page(position, {number: tuple(found) for number, found in unfinished.items()}, dict(busy_mb))

    def __len__(self) -> int:
        return len(self._open)

    def _tell(self, whose: tuple[int, str]) -> None:
        """One report at a time: what is finished meanwhile goes into the next one together."""
        with self._lock:
            if whose in self._telling or not self._done[whose]:
                return
            ids = tuple(self._done[whose][:MOST_AT_ONCE])
            del self._done[whose][:MOST_AT_ONCE]
            self._telling.add(whose)
        number, incarnation = whose
        report = Report(Member(self._name, incarnation), ids)
        sent = self._bus.send(self._topics.dispatcher(number), report.encode())
        sent.add_done_callback(lambda future: self._told(whose, ids, future))

    def _told(self, whose: tuple[int, str], ids: tuple[ActivationId, ...], sent: Future[None]) -> None:
        failure = sent.exception()
        with self._lock:
            self._telling.discard(whose)
            if failure is not None and not isinstance(failure, MessageTooLargeError):
                self._done[whose][:0] = ids
        if failure is None:
            self._tell(whose)
        else:
            logger.info(
                "dispatcher %s does not know yet that %s activations are done: %s", whose[0], len(ids), failure
            )
