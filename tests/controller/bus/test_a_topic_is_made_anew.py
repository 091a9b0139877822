"""A topic that goes and comes back under its name is another one: all of it is read, and no place is taken for one in
it that was in the old one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest
from brokers import Broker
from reading import nothing, put, read, values

from instar_controller.clients.memory_bus import MemoryBus
from instar_controller.cluster_ports import Bus, From, Position, TopicSettings

Remake = Callable[[], None]


@pytest.fixture
def remake(bus: Bus, topic: str, request: pytest.FixtureRequest) -> Remake:
    """Have the topic deleted and made, while somebody reads it."""
    if isinstance(bus, MemoryBus):
        return lambda: bus.lose(topic)
    broker: Broker = request.getfixturevalue("broker")

    def again() -> None:
        broker.delete(topic)
        bus.ensure_topic(topic, TopicSettings())

    return again


def test_a_reader_reads_all_of_it(bus: Bus, topic: str, remake: Remake) -> None:
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    put(bus, topic, b"a", b"b", b"c")
    assert values(reader, 3) == [b"a", b"b", b"c"]
    remake()
    put(bus, topic, b"d")
    assert [(it.offset, it.value) for it in read(reader, 1)] == [(0, b"d")]
    put(bus, topic, b"e")
    assert values(reader, 1) == [b"e"]
    assert nothing(reader)


def test_a_position_in_the_old_one_is_none_in_it(bus: Bus, topic: str, remake: Remake) -> None:
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    put(bus, topic, b"a", b"b")
    assert values(reader, 2) == [b"a", b"b"]
    reader.commit({0: Position(2, "note")})
    remake()
    assert bus.committed(topic, "invoker0") == {}
    put(bus, topic, b"c", b"d", b"e")  # past the old position, which would be as good as any
    successor = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    assert successor.positions() == {}
    assert values(successor, 3) == [b"c", b"d", b"e"]


def test_what_is_committed_by_who_does_not_know_yet_counts_for_none(bus: Bus, topic: str, remake: Remake) -> None:
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    put(bus, topic, b"a", b"b")
    assert values(reader, 2) == [b"a", b"b"]
    remake()
    reader.commit({0: Position(2)})
    assert bus.committed(topic, "invoker0") == {}


def test_what_is_committed_before_anything_of_it_was_read_counts_for_none(
    bus: Bus, topic: str, remake: Remake
) -> None:
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    put(bus, topic, b"a", b"b")
    assert values(reader, 2) == [b"a", b"b"]
    remake()
    while "{0: 0}" not in repr(reader):  # it has found out
        assert nothing(reader)
    reader.commit({0: Position(2)})
    assert bus.committed(topic, "invoker0") == {}
    put(bus, topic, b"c")
    assert values(reader, 1) == [b"c"]
    reader.commit({0: Position(1)})
    assert bus.committed(topic, "invoker0") == {0: Position(1)}


def test_a_reader_from_the_end_misses_nothing_once_it_has_found_out(bus: Bus, topic: str, remake: Remake) -> None:
    reader = bus.subscribe(topic, "health0", begin=From.LATEST)
    put(bus, topic, b"a", b"b", b"c")
    assert values(reader, 3) == [b"a", b"b", b"c"]
    remake()
    put(bus, topic, b"unseen")
    while "{0: 1}" not in repr(reader):
        assert nothing(reader)
    for number in range(3):
        put(bus, topic, b"%d" % number)
        assert values(reader, 1) == [b"%d" % number]
