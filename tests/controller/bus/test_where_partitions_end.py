"""A reader knows where partitions ended when it began: what lies there or beyond came later."""

from __future__ import annotations

from reading import put, values

from instar_controller.cluster_ports import Bus, From, TopicSettings


def test_an_empty_topic_ends_where_it_begins(bus: Bus, topic: str) -> None:
    assert bus.subscribe(topic, "invoker0", begin=From.EARLIEST).ends() == {0: 0}


def test_what_comes_later_does_not_count(bus: Bus, topic: str) -> None:
    put(bus, topic, b"a", b"b")
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    put(bus, topic, b"c")
    assert values(reader, 3) == [b"a", b"b", b"c"]
    assert reader.ends() == {0: 2}
    assert bus.subscribe(topic, "invoker0", begin=From.EARLIEST).ends() == {0: 3}


def test_partitions_have_ends_of_their_own(bus: Bus, topic: str) -> None:
    parted = f"{topic}-parted"
    bus.ensure_topic(parted, TopicSettings(partitions=3))
    put(bus, parted, b"a", b"b")
    ends = bus.subscribe(parted, "invoker0", begin=From.LATEST).ends()
    assert set(ends) == {0, 1, 2}
    assert sum(ends.values()) == 2
