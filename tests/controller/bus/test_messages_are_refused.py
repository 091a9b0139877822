"""What a bus does not take fails the message's own future, and nothing else."""

from __future__ import annotations

import pytest
from reading import LIMIT_S, put, values

from instar_controller.cluster_ports import Bus, From
from instar_controller.errors import BusError, MessageTooLargeError


def test_a_message_above_the_limit_of_its_topic_is_refused_for_good(bus: Bus, topic: str) -> None:
    with pytest.raises(MessageTooLargeError, match=rf"11000 bytes.*{topic}.*10000"):
        bus.send(topic, b"x" * 11_000).result(LIMIT_S)


def test_its_neighbours_are_sent_all_the_same(bus: Bus, topic: str) -> None:
    before, refused, after = (bus.send(topic, value) for value in (b"before", b"x" * 11_000, b"after"))
    before.result(LIMIT_S), after.result(LIMIT_S)
    assert isinstance(refused.exception(LIMIT_S), MessageTooLargeError)
    assert values(bus.subscribe(topic, "invoker0", begin=From.EARLIEST), 2) == [b"before", b"after"]


def test_a_message_just_below_the_limit_is_sent(bus: Bus, topic: str) -> None:
    put(bus, topic, b"x" * 9_800)
    assert values(bus.subscribe(topic, "invoker0", begin=From.EARLIEST), 1) == [b"x" * 9_800]


def test_sending_on_a_closed_bus_fails_the_future(bus: Bus, topic: str) -> None:
    bus.close()
    with pytest.raises(BusError, match="closed"):
        bus.send(topic, b"late").result(LIMIT_S)


def test_a_closed_bus_is_not_up(bus: Bus, topic: str) -> None:
    assert bus.is_up()
    bus.close()
    assert not bus.is_up()


def test_closing_twice_is_closing_once(bus: Bus, topic: str) -> None:
    bus.close()
    bus.close()


def test_a_future_of_a_message_cannot_be_cancelled(bus: Bus, topic: str) -> None:
    assert not bus.send(topic, b"a").cancel()
