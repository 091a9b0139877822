"""Tells controllers what became of their activations: which message is due when, and that it arrives.

One rule: every activation gets exactly one message that frees its slot, after its result if somebody waits for that.

    blocking, with a log        ResultMessage on the answer, CompletionMessage at the end
    blocking, without a log     CombinedMessage at the end
    not blocking                CompletionMessage at the end
    never in a container        CombinedMessage at the end; for who does not wait with the id alone

The user event goes out with the message that frees the slot. What is not known here is whether an assignment may
still be answered: its source is asked each time, just before a message is sent.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from instar_controller.engines.outbox import Outbox, Parcel
from instar_controller.engines.sources import Assignment, Source
from instar_controller.ports import Clock
from instar_controller.whisk import acks, events, wire_activation
from instar_controller.whisk.acks import Ack, CombinedMessage, CompletionMessage, ResultMessage
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.response import Status

logger = logging.getLogger(__name__)


class Observer(Protocol):
    """Who counts. Nothing of it waits or raises."""

    def read(self, fate: str) -> None:
        """A message was read, and this became of it."""

    def reached(self, stage: str, seconds: float) -> None:
        """So long after its message was read an activation has come so far, its container's own time not counted."""

    def sent(self, kind: str) -> None:
        """The bus has taken a message of this kind."""

    def not_sent(self, kind: str) -> None:
        """A message of this kind will never arrive."""

    def finished(self, activation: Activation) -> None:
        """This is the record, without its bulk, of an activation whose completion the bus has taken from us."""


@dataclass(frozen=True, slots=True)
class AckTopics:
    """`completed` makes a controller's topic of its name; `events` is None where there are no user events."""

    completed: Callable[[str], str]
    events: str | None = None


def on_answer(assignment: Assignment, activation: Activation, *, has_log: bool) -> Ack | None:
    """What is due once the function has answered."""
    message = assignment.message
    if not (message.blocking and has_log and activation.had_container):
        return None
    return ResultMessage(message.transid, wire_activation.of(activation))


def at_the_end(assignment: Assignment, activation: Activation, *, has_log: bool) -> Ack:
    """What is due once nothing more will come: it frees the slot."""
    message, instance = assignment.message, assignment.instance
    failed = activation.response.status is Status.WHISK_ERROR
    if activation.had_container and (has_log or not message.blocking):
        return CompletionMessage(message.transid, message.activation_id, failed, instance)
    whole = CombinedMessage(message.transid, wire_activation.of(activation.with_logs(())), failed, instance)
    return whole if message.blocking else acks.shrunk(whole)


class Acknowledger:
    """Makes acknowledgements and events, and has them sent. Safe for several threads."""

    def __init__(self, outbox: Outbox, source: Source, clock: Clock, observer: Observer, topics: AckTopics) -> None:
        self._outbox = outbox
        self._source = source
        self._clock = clock
        self._observer = observer
        self._topics = topics

    def is_ours(self, assignment: Assignment) -> bool:
        """Whether it is ours to answer, and to keep the record of."""
        return self._source.may_act(assignment)

    def result(self, assignment: Assignment, ack: Ack) -> None:
        """Send what delivers a result and nothing else."""
        self._send(assignment, ack)

    def completion(
        self, assignment: Assignment, ack: Ack, activation: Activation | None, on_sent: Callable[[], None]
    ) -> None:
        """Send what frees the slot; and the user event, if there is an `activation` to tell of. `on_sent` is told
        when the bus has the first, or is never to have it. An activation is counted as finished when the bus has it:
        one that was begun here and is somebody else's by then is counted by whoever completes it.
        """

        self._send(assignment, ack, on_sent, None if activation is None else activation.without_bulk())
        if activation is not None and self._topics.events is not None:
            event = events.of(
                wire_activation.of(activation),
                source=str(assignment.instance),
                user_id=assignment.message.user.uuid,
                now_ms=self._clock.now_ms(),
            )
            self._outbox.send(
                Parcel(
                    self._topics.events,
                    event.encode(),
                    on_sent=lambda: self._observer.sent("event"),
                    is_wanted=lambda: self._source.may_act(assignment),
                )
            )

    def give_up(self, assignment: Assignment) -> None:
        """It is not answered: another assignment of the same activation is."""
        self._source.give_up(assignment)

    def _send(
        self,
        assignment: Assignment,
        ack: Ack,
        on_sent: Callable[[], None] | None = None,
        counted: Activation | None = None,
    ) -> None:
        kind = type(ack).__name__
        was_wanted = True

        def is_wanted() -> bool:
            nonlocal was_wanted
            was_wanted = self._source.may_act(assignment)
            return was_wanted

        def sent() -> None:
            if was_wanted:
                self._observer.sent(kind)
                if counted is not None:
                    self._observer.finished(counted)
            else:
                logger.warning("activation %s is somebody else's to answer now", assignment.message.activation_id)
                self._observer.not_sent(kind)
            if on_sent is not None:
                (self._source.complete if was_wanted else self._source.give_up)(assignment)
                on_sent()

        small = None if isinstance(ack, CompletionMessage) else lambda: acks.shrunk(ack).encode()
        topic = self._topics.completed(assignment.message.controller.name)
        self._outbox.send(Parcel(topic, ack.encode(), small, is_wanted, sent))


class Receipt:
    """Hears of one activation from the engine, and has it acknowledged."""

    __slots__ = ("_acknowledger", "_assignment", "_has_log", "_observer", "_on_sent", "_read_s")

    def __init__(
        self,
        acknowledger: Acknowledger,
        observer: Observer,
        assignment: Assignment,
        *,
        has_log: bool,
        read_s: float,
        on_sent: Callable[[], None],
    ) -> None:
        """`read_s` is when its message was read, on the monotonic clock; `on_sent` is told when its completion is on
        the bus, or it is not ours to complete."""
        self._acknowledger = acknowledger
        self._observer = observer
        self._assignment = assignment
        self._has_log = has_log
        self._read_s = read_s
        self._on_sent = on_sent

    def answered(self, activation: Activation) -> None:
        ack = on_answer(self._assignment, activation, has_log=self._has_log)
        if ack is not None:
            self._acknowledger.result(self._assignment, ack)
        self._observer.reached("answered", self._since(activation))

    def finished(self, activation: Activation) -> bool:
        ack = at_the_end(self._assignment, activation, has_log=self._has_log)
        self._acknowledger.completion(self._assignment, ack, activation, self._on_sent)
        self._observer.reached("completed", self._since(activation))
        return self._acknowledger.is_ours(self._assignment)

    def relieved(self) -> None:
        self._acknowledger.give_up(self._assignment)
        self._on_sent()

    def _since(self, activation: Activation) -> float:
        return max(0.0, time.monotonic() - self._read_s - activation.duration / 1000)
