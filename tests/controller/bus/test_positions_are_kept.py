"""A group's position survives its reader, with the note that came with it."""

from __future__ import annotations

from reading import put, values

from instar_controller.cluster_ports import Bus, From, Position, TopicSettings

NOTE = '{"to": 3, "open": [1, 2], "by": "Gemüse"}'


def test_a_group_goes_on_where_it_committed(bus: Bus, topic: str) -> None:
    put(bus, topic, b"a", b"b", b"c")
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    assert values(reader, 3) == [b"a", b"b", b"c"]
    reader.commit({0: Position(2)})
    reader.close()
    assert values(bus.subscribe(topic, "invoker0", begin=From.LATEST), 1) == [b"c"]


def test_what_was_not_committed_comes_again(bus: Bus, topic: str) -> None:
    put(bus, topic, b"a")
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    assert values(reader, 1) == [b"a"]
    reader.close()
    assert values(bus.subscribe(topic, "invoker0", begin=From.EARLIEST), 1) == [b"a"]


def test_a_commit_does_not_move_the_reader(bus: Bus, topic: str) -> None:
    put(bus, topic, b"a", b"b", b"c")
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    assert values(reader, 2) == [b"a", b"b"]
    reader.commit({0: Position(1)})
    assert values(reader, 1) == [b"c"]


def test_a_note_is_kept_with_the_position(bus: Bus, topic: str) -> None:
    put(bus, topic, b"a", b"b", b"c")
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    reader.commit({0: Position(1, NOTE)})
    reader.close()
    assert bus.subscribe(topic, "invoker0", begin=From.EARLIEST).positions() == {0: Position(1, NOTE)}
    assert bus.committed(topic, "invoker0") == {0: Position(1, NOTE)}


def test_positions_of_a_reader_are_those_it_began_with(bus: Bus, topic: str) -> None:
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    assert reader.positions() == {}
    reader.commit({0: Position(7, "later")})
    assert reader.positions() == {}
    assert bus.committed(topic, "invoker0") == {0: Position(7, "later")}


def test_the_last_commit_counts_even_if_it_goes_back(bus: Bus, topic: str) -> None:
    put(bus, topic, b"a", b"b", b"c")
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    reader.commit({0: Position(3)})
    reader.commit({0: Position(1)})
    assert values(bus.subscribe(topic, "invoker0", begin=From.EARLIEST), 2) == [b"b", b"c"]


def test_a_group_that_never_committed_has_no_position(bus: Bus, topic: str) -> None:
    assert bus.committed(topic, "nobody") == {}


def test_committing_nothing_changes_nothing(bus: Bus, topic: str) -> None:
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    reader.commit({0: Position(1, NOTE)})
    reader.commit({})
    assert bus.committed(topic, "invoker0") == {0: Position(1, NOTE)}


def test_groups_have_positions_of_their_own(bus: Bus, topic: str) -> None:
    bus.subscribe(topic, "health0", begin=From.EARLIEST).commit({0: Position(4)})
    bus.subscribe(topic, "health1", begin=From.EARLIEST).commit({0: Position(2)})
    assert bus.committed(topic, "health0") == {0: Position(4)}
    assert bus.committed(topic, "health1") == {0: Position(2)}


def test_partitions_have_positions_of_their_own(bus: Bus, topic: str) -> None:
    parted = f"{topic}-parted"
    bus.ensure_topic(parted, TopicSettings(partitions=3))
    reader = bus.subscribe(parted, "invoker0", begin=From.EARLIEST)
    reader.commit({0: Position(4), 2: Position(6, "two")})
    reader.commit({2: Position(7)})
    assert bus.committed(parted, "invoker0") == {0: Position(4), 2: Position(7)}


def test_closing_a_reader_commits_nothing(bus: Bus, topic: str) -> None:
    put(bus, topic, b"a")
    reader = bus.subscribe(topic, "invoker0", begin=From.EARLIEST)
    assert values(reader, 1) == [b"a"]
    reader.close()
    assert bus.committed(topic, "invoker0") == {}


def test_a_position_beyond_the_end_counts_for_none(bus: Bus, topic: str) -> None:
    put(bus, topic, b"a", b"b")
    bus.subscribe(topic, "invoker0", begin=From.EARLIEST).commit({0: Position(1_000)})
    assert values(bus.subscribe(topic, "invoker0", begin=From.EARLIEST), 2) == [b"a", b"b"]
