"""What Kafka itself refuses comes back as an error of ours, with its words."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from brokers import Broker
from reading import LIMIT_S, put, values

from instar_controller.clients.kafka.bus import KafkaBus
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.cluster_ports import From, TopicSettings
from instar_controller.errors import BusError, MessageTooLargeError

pytestmark = pytest.mark.system


@pytest.fixture
def bus(broker: Broker) -> Iterator[KafkaBus]:
    with closing(KafkaBus(KafkaSettings(broker.hosts))) as made:
        yield made


def test_a_message_above_the_topics_own_limit(bus: KafkaBus, topic_prefix: str) -> None:
    topic = f"{topic_prefix}narrow"
    bus.ensure_topic(topic, TopicSettings(max_message_bytes=5_000))
    put(bus, topic, b"x" * 4_900)
    with pytest.raises(MessageTooLargeError, match=rf"5000 bytes to {topic}.*MSG_SIZE_TOO_LARGE.*max.message.bytes"):
        bus.send(topic, b"x" * 5_000).result(LIMIT_S)
    put(bus, topic, b"after")
    assert values(bus.subscribe(topic, "invoker0", begin=From.EARLIEST), 2) == [b"x" * 4_900, b"after"]


def test_the_largest_activation_passes(bus: KafkaBus, topic_prefix: str) -> None:
    """A payload of 1 MiB with some kB of what is around it: as much as a controller sends."""
    topic = f"{topic_prefix}wide"
    bus.ensure_topic(topic, TopicSettings())
    largest = b"x" * ((1 << 20) + 6000 - 68)
    put(bus, topic, largest)
    assert values(bus.subscribe(topic, "invoker0", begin=From.EARLIEST), 1) == [largest]


def test_the_position_in_an_absent_topic_cannot_be_read(bus: KafkaBus, topic_prefix: str) -> None:
    for _ in range(2):  # asking does not make it
        with pytest.raises(BusError, match=f"{topic_prefix}absent cannot be read.*ensure_topic"):
            bus.committed(f"{topic_prefix}absent", "invoker0")
