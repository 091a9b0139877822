"""A broker that comes back empty, and topics that are deleted: a reader begins anew, as it was told, and says so."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing

import pytest
from brokers import Broker
from confluent_kafka import Consumer, TopicPartition
from reading import nothing, put, read, values

from instar_controller.clients.kafka import topic_ids
from instar_controller.clients.kafka.bus import KafkaBus
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.cluster_ports import From, Position, TopicSettings
from instar_controller.errors import BusError

pytestmark = pytest.mark.system

TOPIC = "invoker0"
OLD = (b"a", b"b", b"c")
NEW = (b"0", b"1", b"2", b"3", b"4")


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
    put(bus, TOPIC, *OLD)
    assert values(reader, 3) == [*OLD]
    with caplog.at_level(logging.WARNING):
        restart(bus, own_broker)
        put(bus, TOPIC, b"d")
        found = read(reader, 1)
    assert [(each.offset, each.value) for each in found] == [(0, b"d")]
    assert "invoker0 was made anew" in caplog.text
    assert "invoker0 reads it from its earliest on" in caplog.text
    reader.commit({0: Position(1)})
    put(bus, TOPIC, b"e")
    assert values(reader, 1) == [b"e"]


def test_nothing_is_passed_over_in_a_topic_that_has_grown_past_the_old_place(
    bus: KafkaBus, own_broker: Broker
) -> None:
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    put(bus, TOPIC, *OLD)
    assert values(reader, 3) == [*OLD]
    own_broker.kill()
    own_broker.relay.hold_fetches()  # until what the reader asks for is there by chance
    own_broker.restart()
    bus.ensure_topic(TOPIC, TopicSettings())
    put(bus, TOPIC, *NEW)
    own_broker.relay.release_fetches()
    assert values(reader, len(NEW)) == [*NEW]
    assert nothing(reader)


def test_a_topic_that_is_deleted_and_made_while_it_is_read(
    bus: KafkaBus, own_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    """No connection breaks: it is found out by asking."""
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    put(bus, TOPIC, *OLD)
    assert values(reader, 3) == [*OLD]
    own_broker.relay.hold_fetches()
    own_broker.delete(TOPIC)
    bus.ensure_topic(TOPIC, TopicSettings())
    put(bus, TOPIC, *NEW)
    while "made anew" not in caplog.text:
        assert nothing(reader)
    own_broker.relay.release_fetches()
    assert values(reader, len(NEW)) == [*NEW]
    assert nothing(reader)


def test_a_reader_from_the_end_reads_what_comes_after_it_has_found_out(bus: KafkaBus, own_broker: Broker) -> None:
    reader = bus.subscribe(TOPIC, "health0", begin=From.LATEST)
    put(bus, TOPIC, *OLD)
    assert values(reader, 3) == [*OLD]
    restart(bus, own_broker)
    put(bus, TOPIC, b"unseen")
    while "{0: 1}" not in repr(reader):  # it has found its new place
        assert nothing(reader)
    put(bus, TOPIC, b"seen")
    assert values(reader, 1) == [b"seen"]


@pytest.mark.parametrize("begin", From)
def test_a_place_that_is_there_is_kept_whatever_the_library_says_of_it(
    bus: KafkaBus, own_broker: Broker, begin: From, caplog: pytest.LogCaptureFixture
) -> None:
    reader = bus.subscribe(TOPIC, "invoker0", begin=begin)
    put(bus, TOPIC, *OLD)
    assert values(reader, 3) == [*OLD]
    for value in NEW:
        own_broker.relay.deny_offsets(1)
        while own_broker.relay.denies:
            assert nothing(reader)
        put(bus, TOPIC, value)
        assert values(reader, 1) == [value]
    assert "going on" not in caplog.text


def test_a_topic_that_has_gone_is_made_again_by_who_reads_it(
    bus: KafkaBus, own_broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    own_broker.relay.makes_topics = False
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    put(bus, TOPIC, *OLD)
    assert values(reader, 3) == [*OLD]
    own_broker.delete(TOPIC)
    while "made anew" not in caplog.text:
        assert nothing(reader)
    put(bus, TOPIC, *NEW)
    assert [(each.partition, each.value) for each in read(reader, len(NEW))] == [(0, value) for value in NEW]


def test_a_topic_that_nobody_has_ensured_stays_away(bus: KafkaBus, own_broker: Broker) -> None:
    own_broker.relay.makes_topics = False
    own_broker.make("health")
    reader = bus.subscribe("health", "health0", begin=From.EARLIEST)
    put(bus, "health", b"a")
    assert values(reader, 1) == [b"a"]
    own_broker.delete("health")
    with pytest.raises(BusError, match="topic health cannot be read by health0: there is no such topic"):
        while True:
            assert nothing(reader)
    own_broker.make("health")
    put(bus, "health", b"b")
    while not (found := reader.poll(timeout_s=1.0, most=1)):
        pass
    assert [each.value for each in found] == [b"b"]


def test_all_partitions_of_a_new_topic_are_read(bus: KafkaBus, own_broker: Broker) -> None:
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    put(bus, TOPIC, *OLD)
    assert values(reader, 3) == [*OLD]
    own_broker.delete(TOPIC)
    own_broker.make(TOPIC, partitions=3)
    for value in range(30):  # each by itself, for the library fills one partition after the other
        put(bus, TOPIC, b"%d" % value)
    found: set[bytes] = set()
    while len(found) < 30:
        found.update(values(reader, 1))
    assert found == {b"%d" % value for value in range(30)}


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


def test_a_position_of_a_stock_program_counts(bus: KafkaBus, own_broker: Broker) -> None:
    put(bus, TOPIC, *OLD)
    stock = Consumer({"bootstrap.servers": own_broker.hosts, "group.id": "invoker0", "enable.auto.commit": False})
    stock.commit(offsets=[TopicPartition(TOPIC, 0, 2)], asynchronous=False)
    stock.close()
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    assert reader.positions() == {0: Position(2)}
    assert values(reader, 1) == [OLD[2]]


def test_a_broker_without_ids_is_read_as_far_as_offsets_tell(
    bus: KafkaBus, own_broker: Broker, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    known = topic_ids._known
    monkeypatch.setattr(
        topic_ids, "_known", lambda found: topic_ids.KnownTopic("", known(found).partitions)
    )  # as before Apache Kafka 2.8
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    put(bus, TOPIC, *OLD)
    assert values(reader, 3) == [*OLD]
    reader.commit({0: Position(3, "note")})
    assert bus.committed(TOPIC, "invoker0") == {0: Position(3, "note")}
    restart(bus, own_broker)
    put(bus, TOPIC, b"d")
    assert values(reader, 1) == [b"d"]
    assert "would be 3" in caplog.text
