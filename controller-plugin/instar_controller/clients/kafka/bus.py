"""A message bus over Kafka.

One rule: it comes and goes with no broker at all. Nothing here waits for one but for whoever asks, for as long as the
settings say. Connections are made, and made again, by the library underneath, librdkafka; its threads are not ours to
hold up, so all that we add is what the port promises.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic  # `admin` has it too, but does not say so to a type checker

from instar_controller.clients.kafka import failures
from instar_controller.clients.kafka.positions import Positions
from instar_controller.clients.kafka.pulse import Pulse
from instar_controller.clients.kafka.sending import Sender
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.clients.kafka.subscription import KafkaSubscription
from instar_controller.clients.kafka.topic_ids import TopicIds
from instar_controller.cluster_ports import From, Position, Subscription, TopicSettings
from instar_controller.errors import BusError, SettingsError

logger = logging.getLogger(__name__)

TRIES = 5
BETWEEN_TRIES_S = 1.0


class KafkaBus:
    """See `cluster_ports.Bus`. Subscriptions are closed by those who have made them.

    A message that the broker has taken without our learning of it is sent again: who must not act twice looks at what
    it says. In a topic of several partitions, those of one partition keep their order. A topic that was ensured, and
    is read here, is made again when it has gone. The constructor raises `SettingsError`, and asks nobody.
    """

    def __init__(self, settings: KafkaSettings) -> None:
        self._settings = settings
        self._pulse = Pulse(settings)
        configuration: dict[str, Any] = {**settings.of_administrator(), "error_cb": self._pulse.failed}
        try:
            self._admin = AdminClient(configuration)
            self._sender = Sender(settings, self._pulse)
        except KafkaException as raised:
            why = failures.of(raised).str()
            raise SettingsError(f"no client of Kafka can be made for '{settings.hosts}': {why}") from raised
        self._topics = TopicIds(self._admin, settings.answer_s)
        self._positions = Positions(self._admin, settings.answer_s)
        self._ensured: dict[str, TopicSettings] = {}
        self._is_closed = threading.Event()

    def ensure_topic(self, topic: str, settings: TopicSettings) -> None:
        what = f"topic {topic} cannot be made at {self._settings.hosts}"
        for left in reversed(range(TRIES)):
            if self._is_closed.is_set():
                raise BusError(f"{what}: the bus is closed")
            try:
                if not self._has(topic):
                    self._make(topic, settings)
                if self._has(topic):  # so that who reads it next finds it
                    self._ensured[topic] = settings
                    return
            except KafkaException as raised:
                error = failures.of(raised)
                if not failures.may_pass(error) or not left:
                    raise failures.failure(what, error) from raised
            self._is_closed.wait(BETWEEN_TRIES_S)
        raise BusError(f"{what}: it was made, but is not listed after {TRIES} tries")

    def subscribe(self, topic: str, group: str, *, begin: From) -> Subscription:
        if self._is_closed.is_set():
            raise BusError(f"topic {topic} cannot be read by {group}: the bus is closed")
        return KafkaSubscription(
            self._settings,
            self._topics,
            self._positions,
            self._pulse,
            topic,
            group,
            begin,
            make_again=self._make_again,
        )

    def send(self, topic: str, value: bytes) -> Future[None]:
        return self._sender.send(topic, value)

    def committed(self, topic: str, group: str) -> Mapping[int, Position]:
        what = f"the position of {group} in topic {topic} cannot be read"
        if self._is_closed.is_set():
            raise BusError(f"{what}: the bus is closed")
        return self._positions.committed(topic, group, self._topics.find(topic, what))

    def is_up(self) -> bool:
        return self._pulse.is_up and not self._is_closed.is_set()

    def close(self) -> None:
        self._is_closed.set()
        self._sender.close()

    def __repr__(self) -> str:
        state = "closed" if self._is_closed.is_set() else "up" if self.is_up() else "down"
        return f"<KafkaBus: {self._settings.hosts} {state}; {len(self._sender)} messages on their way>"

    def _has(self, topic: str) -> bool:
        listed = self._admin.list_topics(timeout=self._settings.answer_s).topics
        self._pulse.answered()
        return topic in listed

    def _make_again(self, topic: str) -> None:
        """A topic that is read has gone. Raises `BusError`."""
        settings = self._ensured.get(topic)
        if settings is not None:
            logger.warning("topic %s has gone from %s, and is made again", topic, self._settings.hosts)
            with failures.translated(f"topic {topic} cannot be made again at {self._settings.hosts}"):
                self._make(topic, settings)

    def _make(self, topic: str, settings: TopicSettings) -> None:
        wanted = NewTopic(
            topic,
            num_partitions=settings.partitions,
            replication_factor=settings.replication,
            config={
                "retention.ms": str(settings.retention_ms),
                "retention.bytes": str(settings.retention_bytes),
                "segment.bytes": str(settings.segment_bytes),
                "max.message.bytes": str(settings.max_message_bytes),
            },
        )
        (made,) = self._admin.create_topics([wanted], request_timeout=self._settings.answer_s).values()
        try:
            made.result()
            logger.info("topic %s is made, with %s partitions", topic, settings.partitions)
        except KafkaException as raised:
            if not failures.is_there(failures.of(raised)):
                raise
