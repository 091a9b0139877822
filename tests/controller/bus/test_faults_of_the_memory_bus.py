"""The faults that a test can cause in the memory bus look as the broker's do."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future

import pytest
from reading import LIMIT_S, nothing, put, values

from instar_controller.clients.memory_bus import MemoryBus
from instar_controller.cluster_ports import From, Position, TopicSettings
from instar_controller.errors import BusError

TOPIC = "invoker0"


@pytest.fixture
def bus() -> MemoryBus:
    made = MemoryBus()
    made.ensure_topic(TOPIC, TopicSettings())
    return made


def test_everything_fails_while_it_is_down_and_nothing_is_skipped(bus: MemoryBus) -> None:
    put(bus, TOPIC, b"a", b"b")
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    assert values(reader, 1) == [b"a"]
    bus.go_down()
    assert not bus.is_up()
    for act in (
        lambda: reader.poll(timeout_s=0.0, most=1),
        lambda: reader.commit({0: Position(1)}),
        lambda: bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST),
        lambda: bus.committed(TOPIC, "invoker0"),
        lambda: bus.ensure_topic(TOPIC, TopicSettings()),
        lambda: bus.send(TOPIC, b"lost").result(LIMIT_S),
    ):
        with pytest.raises(BusError, match="down"):
            act()
    bus.come_back()
    assert bus.is_up()
    assert values(reader, 1) == [b"b"]
    assert nothing(reader)


def test_a_reader_waits_for_a_bus_that_is_down(bus: MemoryBus) -> None:
    put(bus, TOPIC, b"a")
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    bus.go_down()
    found: list[bytes] = []
    waiting = threading.Thread(target=lambda: found.extend(values(reader, 1)))
    waiting.start()
    bus.come_back()
    waiting.join(LIMIT_S)
    assert found == [b"a"]


def test_messages_that_are_held_arrive_in_order(bus: MemoryBus) -> None:
    bus.hold()
    first, second = bus.send(TOPIC, b"first"), bus.send(TOPIC, b"second")
    assert not first.done()
    assert bus.sent(TOPIC) == []
    bus.release()
    assert first.done() and second.done()
    assert bus.sent(TOPIC) == [b"first", b"second"]


def test_held_messages_fail_when_the_bus_is_closed(bus: MemoryBus) -> None:
    bus.hold()
    sent = bus.send(TOPIC, b"too late")
    bus.close()
    assert isinstance(sent.exception(LIMIT_S), BusError)


def test_a_topic_refuses_until_it_accepts(bus: MemoryBus) -> None:
    bus.refuse(TOPIC, "its disk is full")
    assert "its disk is full" in str(bus.send(TOPIC, b"a").exception(LIMIT_S))
    bus.accept(TOPIC)
    put(bus, TOPIC, b"b")
    assert bus.sent(TOPIC) == [b"b"]


def test_a_reader_of_a_lost_topic_begins_anew_and_says_so(bus: MemoryBus, caplog: pytest.LogCaptureFixture) -> None:
    put(bus, TOPIC, b"a", b"b")
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    assert values(reader, 2) == [b"a", b"b"]
    bus.lose(TOPIC)
    put(bus, TOPIC, b"c")
    with caplog.at_level(logging.WARNING):
        assert values(reader, 1) == [b"c"]
    assert "invoker0 was made anew; invoker0 reads it from its earliest on" in caplog.text


def test_who_waits_for_a_message_may_send_in_turn(bus: MemoryBus) -> None:
    answered: list[Future[None]] = []
    bus.send(TOPIC, b"ping").add_done_callback(lambda _: answered.append(bus.send(TOPIC, b"pong")))
    answered[0].result(LIMIT_S)
    assert bus.sent(TOPIC) == [b"ping", b"pong"]


def test_closing_wakes_a_reader(bus: MemoryBus) -> None:
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    failed = threading.Event()

    def wait() -> None:
        with pytest.raises(BusError, match="closed"):
            reader.poll(timeout_s=LIMIT_S, most=1)
        failed.set()

    threading.Thread(target=wait, daemon=True).start()
    bus.close()
    assert failed.wait(LIMIT_S / 2)


def test_tests_wait_for_what_is_sent(bus: MemoryBus) -> None:
    threading.Thread(target=lambda: bus.send(TOPIC, b"a")).start()
    assert bus.wait_for(TOPIC, 1) == [b"a"]
    with pytest.raises(TimeoutError, match=r"1 messages.*not 2"):
        bus.wait_for(TOPIC, 2, timeout_s=0.01)
