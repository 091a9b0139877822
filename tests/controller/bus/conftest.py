"""The buses under test: the one in memory, and the one over a broker of our own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
from brokers import Broker

from instar_controller.clients.kafka.bus import KafkaBus
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.clients.memory_bus import MemoryBus
from instar_controller.cluster_ports import Bus, TopicSettings

SMALL = TopicSettings(max_message_bytes=10_000)


@pytest.fixture(params=["memory", pytest.param("kafka", marks=pytest.mark.system)])
def bus(request: pytest.FixtureRequest) -> Iterator[Bus]:
    if request.param == "memory":
        made: Bus = MemoryBus()
    else:
        broker: Broker = request.getfixturevalue("broker")
        made = KafkaBus(KafkaSettings(broker.hosts, max_request_bytes=10_000, answer_s=30.0))
    with closing(made):
        yield made


@pytest.fixture
def topic(bus: Bus, topic_prefix: str) -> str:
    """A topic of one partition that nobody has used yet."""
    bus.ensure_topic(f"{topic_prefix}invoker0", SMALL)
    return f"{topic_prefix}invoker0"
