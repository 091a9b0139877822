"""What the topics say: which envelopes a node was sent, and which activations a controller has answers to.

One rule: everything that was on the bus when it was asked is found. The end of a node's topic is found by a marker.
A controller's topic takes no markers, so it is read until nothing more comes and at least as far as the controller
itself has read it.
"""

from __future__ import annotations

import logging
import re
import secrets
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import TimeoutError as NotInTimeError
from contextlib import closing
from dataclasses import dataclass

from instar_controller.cluster_ports import Bus, From, Message, Position, Subscription
from instar_controller.engines import envelopes
from instar_controller.engines.envelopes import Envelope
from instar_controller.errors import BusError, MalformedError
from instar_controller.whisk import acks
from instar_controller.whisk.acks import CombinedMessage, CompletionMessage, ResultMessage
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.wire_activation import WireActivation

logger = logging.getLogger(__name__)

_IDS = re.compile(rb"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Found:
    """An envelope in a node's topic."""

    offset: int
    envelope: Envelope


@dataclass(frozen=True, slots=True)
class Answered:
    """What a controller has got. `result` is there only if it was delivered whole."""

    has_result: bool = False
    has_completion: bool = False
    result: WireActivation | None = None


@dataclass(frozen=True, slots=True)
class ReadingSettings:
    """Times in seconds."""

    send_s: float = 10.0  # for a marker to arrive
    poll_s: float = 1.0  # for the next messages
    whole_s: float = 300.0  # for all of a topic
    batch: int = 1000


class Evidence:
    """Reads topics in the name of one dispatcher, `group`. For one thread at a time. Every method raises `BusError`;
    then it may be asked again."""

    def __init__(
        self, bus: Bus, group: str, *, now: Callable[[], float], settings: ReadingSettings | None = None
    ) -> None:
        self._bus = bus
        self._group = group
        self._now = now
        self._settings = settings or ReadingSettings()
        self._is_over = threading.Event()

    def close(self) -> None:
        """Whoever reads stops soon, with a `BusError`; any thread may say so."""
        self._is_over.set()

    def sent(self, topic: str, since: int) -> list[Found]:
        """All envelopes that a node was sent from this offset on."""
        token = secrets.token_hex(8)
        try:
            self._bus.send(topic, envelopes.mark(token)).result(self._settings.send_s)
        except NotInTimeError:
            raise BusError(f"topic {topic} took no marker within {self._settings.send_s:g} s") from None
        found = []
        with closing(self._from(topic, since)) as reader:
            for message in self._read(reader, topic, since):
                if message is None:
                    continue
                try:
                    parcel = envelopes.parse(message.value)
                except MalformedError as error:
                    logger.error("message %s of topic %s makes no sense: %s", message.offset, topic, error)
                    continue
                if isinstance(parcel, Envelope):
                    found.append(Found(message.offset, parcel))
                elif parcel.token == token:
                    return found
        raise AssertionError("a reading ends by returning or raising")

    def answered(self, topic: str, since: int, wanted: Collection[ActivationId]) -> dict[ActivationId, Answered]:
        """Which of these activations a controller has answers to, from this offset of its topic on."""
        names = {id.encode() for id in wanted}
        found: dict[ActivationId, Answered] = {}
        for message in self._to_the_end(topic, since):
            if names.isdisjoint(_IDS.findall(message.value)):
                continue
            try:
                ack = acks.parse(message.value)
            except MalformedError:  # not ours, and the controller cannot read it either
                continue
            if ack.activation_id in wanted:
                found[ack.activation_id] = _with(found.get(ack.activation_id, Answered()), ack)
        return found

    def completed(self, topic: str, since: int, number: int) -> set[ActivationId]:
        """The activations whose completion by this invoker a controller has, from this offset of its topic on."""
        found: set[ActivationId] = set()
        for message in self._to_the_end(topic, since):
            try:
                ack = acks.parse(message.value)
            except MalformedError:
                continue
            if not isinstance(ack, ResultMessage) and ack.instance.number == number:
                found.add(ack.activation_id)
        return found

    def _to_the_end(self, topic: str, since: int) -> Iterator[Message]:
        """A controller's messages from `since` on, until no more come and the controller has read no further."""
        begun = self._bus.committed(topic, topic).get(0)
        with closing(self._from(topic, since)) as reader:
            # A controller's position may be of a topic that has gone, and beyond the end of this one.
            end = 0 if begun is None else min(begun.offset, reader.ends().get(0, 0))
            reached = since
            for message in self._read(reader, topic, since):
                if message is not None:
                    if message.partition == 0:
                        reached = message.offset + 1
                    yield message
                elif reached >= end:
                    return

    def _read(self, reader: Subscription, topic: str, since: int) -> Iterator[Message | None]:
        """The messages from `since` on, and None whenever there are no more just now. Raises `BusError`, also when it
        has taken too long; it never ends by itself."""
        until_s = self._now() + self._settings.whole_s
        while True:
            messages = reader.poll(timeout_s=self._settings.poll_s, most=self._settings.batch)
            yield from messages
            if not messages:
                yield None
            if self._is_over.is_set():
                raise BusError(f"topic {topic} is read no further: the dispatcher ends")
            if self._now() > until_s:
                limit = f"{self._settings.whole_s:g} s"
                raise BusError(f"topic {topic} was not read from {since} to its end within {limit}")

    def _from(self, topic: str, since: int) -> Subscription:
        """A reader that begins at `since`: the port knows no other way than a group that stands there.

        Further partitions, which only a controller's topic may have, are read from their beginning.
        """
        with closing(self._bus.subscribe(topic, self._group, begin=From.EARLIEST)) as opener:
            opener.commit({0: Position(since)})
        return self._bus.subscribe(topic, self._group, begin=From.EARLIEST)


def _with(known: Answered, ack: acks.Ack) -> Answered:
    match ack:
        case ResultMessage():
            return Answered(True, known.has_completion, _whole(ack.response) or known.result)
        case CompletionMessage():
            return Answered(known.has_result, True, known.result)
        case CombinedMessage():
            return Answered(True, True, _whole(ack.response) or known.result)


def _whole(response: acks.Result) -> WireActivation | None:
    return response if isinstance(response, WireActivation) else None
