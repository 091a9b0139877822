"""How far a dispatcher has come in its invoker's topic, as the bus is told, and the note beside it.

One rule: a position is committed with a note that says where to look for what was done beyond it; nodes and
controllers are in a committed note before anything is sent to them. No locks here: the dispatcher holds its own.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from instar_controller.cluster_ports import Bus, Position
from instar_controller.engines import notes
from instar_controller.engines.board import Board, Order
from instar_controller.engines.notes import Note
from instar_controller.engines.topics import Topics
from instar_controller.engines.window import Bookmark, Place, Window
from instar_controller.errors import BusError, MalformedError
from instar_controller.policies.nodes import Member

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be committed."""

    offsets: Mapping[int, int]  # by partition
    note: Note

    @property
    def positions(self) -> dict[int, Position]:
        return {
            partition: Position(offset, self.note.encode() if partition == 0 else "")
            for partition, offset in self.offsets.items()
        }


class Committing:
    """One dispatcher's."""

    def __init__(self, bus: Bus, topics: Topics, board: Board) -> None:
        self._bus = bus
        self._topics = topics
        self._board = board
        self.window = Window({})
        self.unsettled_bytes = 0  # of the messages that were taken on
        self._kept = Entry({}, Note())  # what the bus has
        self._acks: dict[str, Bookmark] = {}  # in the topics that controllers read answers from
        self._acks_now: dict[str, int] = {}
        # Lives that are over, and a serial: no message with that or a later one was sent to them.
        self._leaving: tuple[frozenset[Member], int] = (frozenset(), 0)

    def open(self, positions: Mapping[int, Position]) -> Note:
        """Go on where an earlier run was; what it has noted. Raises `BusError` if that makes no sense."""
        try:
            note = notes.parse(positions[0].note if 0 in positions else "")
        except MalformedError as error:
            raise BusError(f"the position in the invoker's topic has a note that is not ours: {error}") from error
        self.window = Window({partition: it.offset for partition, it in positions.items()})
        for partition, end in note.read.items():
            self.window.expect(partition, end)
        self._kept = Entry({}, note)
        self._acks = {controller: Bookmark(offset) for controller, offset in note.acks.items()}
        return note

    def meet(self, controller: str) -> None:
        """Find out from where on this controller's answers are worth reading. Waits for the bus the first time."""
        if controller in self._acks_now:
            return
        try:
            position = self._ask(controller)
        except BusError as error:
            logger.warning("%s", error)
            position = 0
        self._acks_now[controller] = position
        self._acks.setdefault(controller, Bookmark(position))

    def look_again(self) -> None:
        """Find out how far the controllers have read by now. Raises `BusError`."""
        for controller in list(self._acks_now):
            self._acks_now[controller] = max(self._acks_now[controller], self._ask(controller))

    def acks_from(self, controller: str) -> int:
        """No answer to what is sent from now on lies before this."""
        return self._acks_now.get(controller, 0)

    def take_on(self, order: Order) -> None:
        """It was read, and is to be sent to a node."""
        self.unsettled_bytes += len(order.value)

    def settle(self, order: Order) -> None:
        """A node has it, or its controller an answer: nobody needs its message again."""
        if order.place is not None and self.window.settle(order.place):
            self.unsettled_bytes -= len(order.value)
        self._board.discharge(order.owed_by, order.id)

    def knows(self, controller: str, place: Place | None) -> bool:
        """Whether we may answer this controller for a message that lies there: it is noted where to look for that."""
        note = self._kept.note
        return controller in note.acks and (place is None or place.offset < note.read.get(place.partition, 0))

    def may_forget(self) -> bool:
        """Whether lives of nodes may leave the note to whom nothing more is sent: nothing that was sent to them will
        be read again. To be asked until it is so."""
        settled = self._board.settled()
        if not self.window.is_caught_up:
            return False
        if settled != self._leaving[0]:
            self._leaving = (settled, self.window.serial)
        return bool(settled) and self.window.oldest >= self._leaving[1]

    def due(self, now_s: float) -> Entry | None:
        """What is to be committed; None if the bus has it."""
        entry = Entry({0: 0, **self.window.positions()}, self._note(now_s))
        return None if entry == self._kept else entry

    def committed(self, entry: Entry) -> None:
        """The bus has it: the nodes in it may be sent something."""
        self._kept = entry
        for member in entry.note.nodes:
            life = self._board.lives.get(member)
            if life is not None:
                life.is_admitted = True

    def _ask(self, controller: str) -> int:
        topic = self._topics.completed(controller)
        position = self._bus.committed(topic, topic).get(0)
        return 0 if position is None else position.offset

    def _note(self, now_s: float) -> Note:
        """With new nodes, as long as there is space for them."""
        lives = self._board.lives.values()
        if not self._board.is_settling:  # what became of a dead node's work must be found until all is settled
            for life in lives:
                if life.is_admitted and life.beat is not None:
                    life.since.move(life.beat.position, self.window)
            for controller, bookmark in self._acks.items():
                bookmark.move(self._acks_now.get(controller, 0), self.window)
        acks = {controller: it.value for controller, it in self._acks.items()}
        read = dict(self.window.next)
        note = Note({life.member: life.since.value for life in lives if life.is_admitted}, acks, read)
        for life in self._board.alive(now_s):
            if not life.is_admitted:
                longer = Note({**note.nodes, life.member: life.since.value}, acks, read)
                if longer.fits:
                    note = longer
                else:
                    logger.error("node %s gets no work: one dispatcher cannot keep track of more", life.member)
        return note
