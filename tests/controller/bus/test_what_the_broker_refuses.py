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


def test_what_shares_a_batch_with_a_message_that_is_too_large_is_sent_all_the_same(own_broker: Broker) -> None:
    """A broker refuses the whole batch, and nobody is told which message was to blame."""
    with closing(KafkaBus(KafkaSettings(own_broker.hosts))) as bus:
        bus.ensure_topic("narrow", TopicSettings(max_message_bytes=5_000))
        put(bus, "narrow", b"first")
        own_broker.pause()  # so that the next ones gather, behind one that is on its way
        before = bus.send("narrow", b"before")
        large = bus.send("narrow", b"x" * 5_000)
        others = [bus.send("narrow", b"%d" % number) for number in range(10)]
        own_broker.resume()
        with pytest.raises(MessageTooLargeError, match="5000 bytes to narrow"):
            large.result(LIMIT_S)
        for each in [before, *others]:
            each.result(LIMIT_S)
        reader = bus.subscribe("narrow", "invoker0", begin=From.EARLIEST)
        assert values(reader, 12) == [b"first", b"before", *[b"%d" % number for number in range(10)]]


def test_a_batch_that_is_too_large_as_a_whole_is_sent_message_by_message(own_broker: Broker) -> None:
    with closing(KafkaBus(KafkaSettings(own_broker.hosts))) as bus:
        bus.ensure_topic("narrow", TopicSettings(max_message_bytes=5_000))
        put(bus, "narrow", b"first")
        own_broker.pause()
        sent = [bus.send("narrow", b"%d" % number + b"x" * 2_000) for number in range(10)]
        own_broker.resume()
        for each in sent:
            each.result(LIMIT_S)
        reader = bus.subscribe("narrow", "invoker0", begin=From.EARLIEST)
        assert [value[:1] for value in values(reader, 11)] == [b"f", *[b"%d" % number for number in range(10)]]
