"""Settles what a life of a node has left behind, and what the bus would not say whether it took.

One rule: the topics decide, not memory. They are read after the life is over and nothing more is on its way to it; so
it does not matter whether the dispatcher that settles is the one that sent the work, nor how often it begins anew.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from instar_controller.cluster_ports import Bus
from instar_controller.engines.board import Board, Life, Order
from instar_controller.engines.envelopes import Envelope
from instar_controller.engines.evidence import Answered, Evidence, Found
from instar_controller.engines.topics import Topics
from instar_controller.policies import offsets, settlement
from instar_controller.policies.dispatch import Need
from instar_controller.policies.nodes import Member
from instar_controller.policies.settlement import Case, Fate
from instar_controller.whisk import fields
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.activation_message import ActivationMessage

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Owed:
    """An answer that is owed for an activation, since a life is over: the completion alone, or a failure."""

    message: ActivationMessage
    fate: Fate
    result: Answered
    life: Member


class Settling:
    """One dispatcher's. `lock` guards the board; the topics are read without it."""

    def __init__(
        self,
        bus: Bus,
        board: Board,
        lock: threading.Lock,
        evidence: Evidence,
        topics: Topics,
        *,
        needs: Callable[[ActivationMessage], Need],
    ) -> None:
        self._bus = bus
        self._board = board
        self._lock = lock
        self._evidence = evidence
        self._topics = topics
        self._needs = needs
        self.attempts: dict[ActivationId, int] = {}  # the latest of those that were sent more than once

    def clear(self, life: Life) -> list[Order]:
        """Find out whether this life got what is doubtful. What it did not get waits again; returns what it did get.

        Raises `BusError`; then it is still doubtful.
        """
        with self._lock:
            doubtful, since = dict(life.doubtful), life.since.value
        if not doubtful:
            return []
        found = _newest(self._mine(life, self._evidence.sent(self._topics.node(life.member.name), since)))
        with self._lock:
            if life.is_over:
                return []
            still = [life.doubtful.pop(id) for id in doubtful if id in life.doubtful]
            arrived = [order for order in still if order.id in found]
            lost = [order for order in still if order.id not in found]
            for order in lost:
                life.remove(order.id)
            self._board.put_back(lost)
        return arrived

    def settle(self, life: Life, *, now_s: float) -> tuple[list[Owed], list[Order]]:
        """Decide what becomes of the work of a life that is over: what is to be answered, and what it had got of that
        which was doubtful. What is to run elsewhere waits again.

        Raises `BusError`; then nothing is decided.
        """
        with self._lock:
            since = _begin(life, self._board.number)
        found = _newest(self._mine(life, self._evidence.sent(self._topics.node(life.member.name), since)))
        answered = self._answered(found)
        taken_over = self._position(life)
        needs = {id: self._needs(it.envelope.message) for id, it in found.items()}
        with self._lock:
            owed, again = [], []
            for id, it in found.items():
                case = Case(id, it.offset, it.envelope.attempt, needs[id].may_run_twice)
                known = answered.get(id, Answered())
                evidence = settlement.Evidence(
                    taken_over=taken_over,
                    latest_attempt=max(it.envelope.attempt, self.attempts.get(id, 1)),
                    has_result=known.has_result,
                    has_completion=known.has_completion,
                )
                match settlement.fate(case, evidence):
                    case Fate.NOTHING:
                        pass
                    case Fate.DISPATCH:
                        again.append(_order(it, needs[id], life, now_s))
                        life.owed[id] = "it is to be sent to another node"
                    case fate:
                        owed.append(Owed(it.envelope.message, fate, known, life.member))
                        life.owed[id] = "it is to be answered"
            arrived = [order for id, order in life.doubtful.items() if id in found]
            lost = [order for id, order in life.doubtful.items() if id not in found]
            life.doubtful.clear()
            for id in list(life.open):
                life.remove(id)
            self._board.put_back(again + lost)
            life.is_judged = True
        logger.warning(
            "node %s: of %s activations that it had, %s go to other nodes and %s are answered for it",
            *(life.member, len(found), len(again) + len(lost), len(owed)),
        )
        return owed, arrived

    def recover(self, lives: Sequence[Life]) -> list[Envelope]:
        """Read what was sent to these lives and may not be committed. Raises `BusError`."""
        known: list[Envelope] = []
        for life in lives:
            for it in self._mine(life, self._evidence.sent(self._topics.node(life.member.name), life.since.value)):
                envelope = it.envelope
                id = envelope.message.activation_id
                known.append(envelope)
                if envelope.attempt > 1:
                    self.attempts[id] = max(envelope.attempt, self.attempts.get(id, 1))
                with self._lock:
                    life.offsets[id] = it.offset
                    if id not in life.open:
                        life.add(id, Need(f"? {id}", envelope.memory_mb))
        return known

    def _mine(self, life: Life, found: Sequence[Found]) -> list[Found]:
        return [
            it
            for it in found
            if it.envelope.instance.number == self._board.number
            and it.envelope.incarnation == life.member.incarnation
        ]

    def _answered(self, found: Mapping[ActivationId, Found]) -> dict[ActivationId, Answered]:
        by_controller: dict[str, dict[ActivationId, int]] = {}
        for id, it in found.items():
            by_controller.setdefault(it.envelope.message.controller.name, {})[id] = it.envelope.acks_from
        answered: dict[ActivationId, Answered] = {}
        for controller, ids in by_controller.items():
            topic = self._topics.completed(controller)
            answered.update(self._evidence.answered(topic, min(ids.values()), ids.keys()))
        return answered

    def _position(self, life: Life) -> int:
        with self._lock:
            successor = self._board.successor(life)
            if successor is not None and successor.beat is not None:
                return successor.beat.began
        topic = self._topics.node(life.member.name)
        position = self._bus.committed(topic, topic).get(0)
        return 0 if position is None else offsets.resumed(position.offset, position.note).handed


def _begin(life: Life, number: int) -> int:
    """Where the oldest lies of what this life was sent and has not finished."""
    if life.beat is None:
        return life.since.value
    unfinished = [it.offset for it in life.beat.unfinished.get(number, ())]
    doubtful = [life.since.value] if life.doubtful else []  # it may have been finished before that heartbeat
    return min([life.beat.position, *unfinished, *doubtful])


def _newest(found: Sequence[Found]) -> dict[ActivationId, Found]:
    newest: dict[ActivationId, Found] = {}
    for it in found:
        id = it.envelope.message.activation_id
        if id not in newest or newest[id].envelope.attempt <= it.envelope.attempt:
            newest[id] = it
    return newest


def _order(found: Found, need: Need, life: Life, now_s: float) -> Order:
    message = found.envelope.message
    return Order(
        message=message,
        value=fields.encode(message.to_json()),
        need=need,
        acks_from=found.envelope.acks_from,
        waits_since_s=now_s,
        owed_by=life.member,
        attempt=found.envelope.attempt,
    )
