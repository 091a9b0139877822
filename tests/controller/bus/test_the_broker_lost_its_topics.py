"""A broker that comes back empty: a reader begins anew, as it was told to, and says so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing

import pytest
from brokers import Broker
from reading import nothing, put, read, values

from instar_controller.clients.kafka.bus import KafkaBus
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.cluster_ports import From, Position, TopicSettings

pytestmark = pytest.mark.system

TOPIC = "invoker0"


@pytest.fixture
def bus(own_broker: Broker) -> Iterator[KafkaBus]:
    with closing(KafkaBus(KafkaSettings(own_broker.hosts))) as made:
        made.ensure_topic(TOPIC, TopicSettings())
        yield made


def restart(bus: KafkaBus, broker: Broker) -> None:
    broker.kill()
    broker.restart()
    bus.ensure_topic(TOPIC, TopicSettings())


def test_a_reader_from_the_beginning_reads_all_that_comes_then(
    bus: KafkaBus, own_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    put(bus, TOPIC, b"a", b"b", b"c")
    assert values(reader, 3) == [b"a", b"b", b"c"]
    restart(bus, own_broker)
    put(bus, TOPIC, b"d")
    with caplog.at_level(logging.WARNING):
        found = read(reader, 1)
    assert [(each.offset, each.value) for each in found] == [(0, b"d")]
    assert "the next message of partition 0 for invoker0 would be 3" in caplog.text
    assert "going on at the earliest" in caplog.text
    reader.commit({0: Position(1)})
    put(bus, TOPIC, b"e")
    assert values(reader, 1) == [b"e"]


def test_a_reader_from_the_end_reads_what_comes_after_it_has_found_out(bus: KafkaBus, own_broker: Broker) -> None:
    reader = bus.subscribe(TOPIC, "health0", begin=From.LATEST)
    put(bus, TOPIC, b"a", b"b", b"c")
    assert values(reader, 3) == [b"a", b"b", b"c"]
    restart(bus, own_broker)
    put(bus, TOPIC, b"unseen")
    while "0: 1" not in repr(reader):  # it has found its new place
        assert nothing(reader)
    put(bus, TOPIC, b"seen")
    assert values(reader, 1) == [b"seen"]


def test_other_partitions_go_on_where_they_were(bus: KafkaBus, own_broker: Broker) -> None:
    parted = "parted"
    bus.ensure_topic(parted, TopicSettings(partitions=2))
    reader = bus.subscribe(parted, "invoker0", begin=From.EARLIEST)
    put(bus, parted, *[b"%d" % number for number in range(40)])
    assert len(read(reader, 40)) == 40
    own_broker.kill()
    own_broker.restart()
    bus.ensure_topic(parted, TopicSettings(partitions=2))
    put(bus, parted, *[b"new %d" % number for number in range(10)])
    found: set[bytes] = set()
    while len(found) < 10:
        found.add(read(reader, 1)[0].value)
    assert found == {b"new %d" % number for number in range(10)}
