"""A node among those of a cluster's dispatchers: what is for it, whether it may be begun, and when it is done.

One rule, and it is about order: first the position in the node's topic is committed, then the work is entered in the
book, then the node asks itself whether it may still act, then it begins. So whatever was begun lies before the position
that dispatchers go by, and what they give to others was not begun.

Who reads the node's topic, runs activations and answers is somebody else (`intake`, `acknowledging`).
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from instar_controller.cluster_ports import Bus, From, Message, Position, Subscription, TopicSettings
from instar_controller.engines import envelopes
from instar_controller.engines.envelopes import Envelope, Marker
from instar_controller.engines.heartbeats import Heart, HeartSettings, NodeState
from instar_controller.engines.ledger import Ledger, Taken
from instar_controller.engines.topics import Topics
from instar_controller.errors import MalformedError
from instar_controller.whisk.activation import ActivationId

logger = logging.getLogger(__name__)


class Membership:
    """One node's. `start` it before the first message is admitted, `close` it after the node has drained."""

    def __init__(
        self,
        bus: Bus,
        topics: Topics,
        name: str,
        *,
        describe: Callable[[], NodeState],
        settings: HeartSettings | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Raises `SettingsError` for a name that no topic can have."""
        self.topic = topics.node(name)
        self.answers = Answers(bus)
        self._ledger = Ledger(bus, topics, name)
        self._heart = Heart(
            bus,
            self._ledger,
            topics,
            name,
            describe=describe,
            is_quiet=self.answers.is_quiet,
            settings=settings,
            now=now,
        )

    def start(self, position: int) -> None:
        """Be known to the dispatchers. The node reads its topic from this offset on."""
        self._ledger.begin(position)
        self._heart.start()

    def admit(self, position: int, messages: Sequence[Message]) -> list[Envelope]:
        """Those of these messages that the node must carry out now: they are committed, up to `position`.

        The others are for an earlier life of the node, make no sense, or come too late: they are nobody's, or somebody
        sees to them who knows.
        """
        found = [taken for message in messages if (taken := _open(message)) is not None]
        self._ledger.take_over(position, found)
        admitted = []
        for taken in found:
            if self.may_act(taken.envelope.incarnation):
                admitted.append(taken.envelope)
            else:
                id = taken.envelope.message.activation_id
                logger.info("activation %s is left to its dispatcher: it is for another life of this node", id)
                self._ledger.forget(id)
        return admitted

    def may_act(self, incarnation: str) -> bool:
        """Whether what was sent to this life of the node may be begun, or answered, now."""
        return self._heart.may_act(incarnation)

    def finish(self, id: ActivationId) -> None:
        """The completion of this activation is on the bus, or the node may not give it any more."""
        self._ledger.finish(id)

    @property
    def heart(self) -> Heart:
        return self._heart

    @property
    def unfinished(self) -> int:
        """How many activations the node has taken over and not finished."""
        return len(self._ledger)

    def close(self) -> None:
        """Tell what is finished, and say no more."""
        self._heart.close()


class Answers:
    """The bus as answers to controllers are given to it: it knows whether any of them are still on their way."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self._on_their_way = 0

    def is_quiet(self) -> bool:
        """Whether every answer is there, or will never be."""
        with self._lock:
            return self._on_their_way == 0

    def ensure_topic(self, topic: str, settings: TopicSettings) -> None:
        self._bus.ensure_topic(topic, settings)

    def subscribe(self, topic: str, group: str, *, begin: From) -> Subscription:
        return self._bus.subscribe(topic, group, begin=begin)

    def send(self, topic: str, value: bytes) -> Future[None]:
        with self._lock:
            self._on_their_way += 1
        sent = self._bus.send(topic, value)
        sent.add_done_callback(self._arrive)
        return sent

    def committed(self, topic: str, group: str) -> Mapping[int, Position]:
        return self._bus.committed(topic, group)

    def is_up(self) -> bool:
        return self._bus.is_up()

    def close(self) -> None:
        self._bus.close()

    def _arrive(self, _: Future[None]) -> None:
        with self._lock:
            self._on_their_way -= 1


def _open(message: Message) -> Taken | None:
    try:
        parcel = envelopes.parse(message.value)
    except MalformedError as error:
        logger.error("message %s of this node's topic is thrown away: %s", message.offset, error)
        return None
    return None if isinstance(parcel, Marker) else Taken(message.offset, parcel)
