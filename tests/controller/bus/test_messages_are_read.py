"""What is sent to a bus is read from it: once, in order, and from where the reader is to begin."""

from __future__ import annotations

import threading
import time

import pytest
from reading import LIMIT_S, nothing, put, read, values

from instar_controller.cluster_ports import Bus, From, TopicSettings
from instar_controller.errors import BusError


def test_messages_are_read_in_the_order_in_which_they_were_sent(bus: Bus, topic: str) -> None:
    sent = [b"message %d" % number for number in range(300)]
    put(bus, topic, *sent)
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    assert values(reader, 300) == sent
    assert nothing(reader)


def test_a_message_comes_as_it_was_sent_with_its_place_and_time(bus: Bus, topic: str) -> None:
    before_ms = time.time_ns() // 1_000_000
    every_byte = bytes(range(256))
    put(bus, topic, every_byte, b"")
    after_ms = time.time_ns() // 1_000_000
    first, second = read(bus.subscribe(topic, "invoker0", begin=From.EARLIEST), 2)
    assert (first.value, second.value) == (every_byte, b"")
    assert (first.partition, first.offset, second.offset) == (0, 0, 1)
    assert before_ms <= first.written_ms <= second.written_ms <= after_ms


def test_no_more_than_asked_for_comes_at_once_and_the_rest_comes_next(bus: Bus, topic: str) -> None:
    put(bus, topic, b"a", b"b", b"c", b"d", b"e")
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    assert len(reader.poll(timeout_s=LIMIT_S, most=2)) == 2
    assert values(reader, 3) == [b"c", b"d", b"e"]


def test_a_reader_from_the_end_sees_only_what_comes(bus: Bus, topic: str) -> None:
    put(bus, topic, b"before")
    reader = bus.subscribe(topic, "health0", begin=From.LATEST)
    put(bus, topic, b"after")
    assert values(reader, 1) == [b"after"]


def test_a_reader_that_waits_is_woken_by_a_message(bus: Bus, topic: str) -> None:
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    found: list[bytes] = []
    waiting = threading.Thread(target=lambda: found.extend(values(reader, 1)))
    waiting.start()
    put(bus, topic, b"at last")
    waiting.join(LIMIT_S)
    assert found == [b"at last"]


def test_a_reader_waits_no_longer_than_it_was_told(bus: Bus, topic: str) -> None:
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    began_s = time.monotonic()
    assert reader.poll(timeout_s=0.3, most=1) == []
    assert 0.29 <= time.monotonic() - began_s < LIMIT_S


def test_two_readers_each_see_every_message(bus: Bus, topic: str) -> None:
    readers = [bus.subscribe(topic, group, begin=From.EARLIEST) for group in ("health0", "health1")]
    put(bus, topic, b"ping")
    assert [values(reader, 1) for reader in readers] == [[b"ping"], [b"ping"]]


def test_all_partitions_are_read_each_in_order(bus: Bus, topic: str) -> None:
    parted = f"{topic}-parted"
    bus.ensure_topic(parted, TopicSettings(partitions=3))
    sent = [b"%03d" % number for number in range(60)]
    put(bus, parted, *sent)
    found = read(bus.subscribe(parted, "invoker0", begin=From.EARLIEST), 60)
    assert sorted(message.value for message in found) == sent
    for partition in {message.partition for message in found}:
        of_it = [message for message in found if message.partition == partition]
        assert [message.offset for message in of_it] == list(range(len(of_it)))
        assert [message.value for message in of_it] == sorted(message.value for message in of_it)


def test_making_a_topic_that_is_there_changes_nothing(bus: Bus, topic: str) -> None:
    put(bus, topic, b"kept")
    bus.ensure_topic(topic, TopicSettings(partitions=5))
    bus.ensure_topic(topic, TopicSettings())
    assert values(bus.subscribe(topic, "invoker0", begin=From.EARLIEST), 1) == [b"kept"]


def test_a_topic_that_nobody_has_made_cannot_be_read(bus: Bus, topic: str) -> None:
    with pytest.raises(BusError, match=f"{topic}-absent.*ensure_topic"):
        bus.subscribe(f"{topic}-absent", "invoker0", begin=From.EARLIEST)
