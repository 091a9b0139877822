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
from instar_controller.engines.reports import Report
from instar_controller.engines.sources import Assignment
from instar_controller.engines.topics import Topics
from instar_controller.errors import MessageTooLargeError
from instar_controller.policies.nodes import Member, Unfinished
from instar_controller.whisk.activation import ActivationId

logger = logging.getLogger(__name__)

MOST_AT_ONCE = 10_000  # ids in one report: half of what fits


@dataclass(frozen=True, slots=True)
class Dispatched(Assignment):
    """An assignment that came from a dispatcher, and what the dispatcher reckons that it takes."""

    memory_mb: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """The book at one moment, as one life of the node has it."""

    position: int
    unfinished: Mapping[int, tuple[Unfinished, ...]]  # by dispatcher
    busy_mb: Mapping[int, int]


class Ledger:
    """One node's. Safe for several threads."""

    def __init__(self, bus: Bus, topics: Topics, name: str) -> None:
        self._bus = bus
        self._topics = topics
        self._name = name
        self._lock = threading.Lock()  # for what follows
        self._position = 0
        self._open: dict[tuple[ActivationId, str], Dispatched] = {}  # by activation and life
        self._done: dict[tuple[int, str], list[ActivationId]] = defaultdict(list)  # by dispatcher and life
        self._telling: set[tuple[int, str]] = set()  # of whom a report is on its way

    def begin(self, position: int) -> None:
        """The node reads on from this offset of its topic."""
        with self._lock:
            self._position = position

    def take_over(self, position: int, assignments: Iterable[Dispatched]) -> None:
        """The node's position in its topic is committed; of what lies before it, these are to be carried out."""
        with self._lock:
            self._position = max(self._position, position)
            self._open.update((_key(it), it) for it in assignments)

    def forget(self, assignment: Assignment) -> None:
        """It was not begun, or not answered; what becomes of it is its dispatcher's business."""
        with self._lock:
            self._open.pop(_key(assignment), None)

    def finish(self, assignment: Assignment) -> None:
        """Its completion is on the bus. Its dispatcher gets to know."""
        whose = (assignment.instance.number, assignment.life)
        with self._lock:
            if self._open.pop(_key(assignment), None) is None:
                return
            self._done[whose].append(assignment.message.activation_id)
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
            for (id, life), taken in self._open.items():
                number = taken.instance.number
                busy_mb[number] += taken.memory_mb
                if life == incarnation:
                    unfinished[number].append(Unfinished(id, taken.offset, taken.memory_mb))
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
                "dispatcher %s does not know of %s activations that are done: %s", whose[0], len(ids), failure
            )


def _key(assignment: Assignment) -> tuple[ActivationId, str]:
    return assignment.message.activation_id, assignment.life
