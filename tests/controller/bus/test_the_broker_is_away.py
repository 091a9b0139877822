"""While there is no broker nothing is skipped, nothing changes its order, and whoever asks gets an answer of ours."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TypeVar

import pytest
from brokers import Broker
from reading import LIMIT_S, nothing, put, read, values

from instar_controller.clients.kafka import subscription
from instar_controller.clients.kafka.bus import KafkaBus
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.cluster_ports import From, Position, TopicSettings
from instar_controller.errors import BusError

pytestmark = pytest.mark.system

TOPIC = "invoker0"
LONG_S = 60.0  # no outage here that is to be outlived takes so long
SEND_S = 3.0  # for an outage that is to be too long

T = TypeVar("T")


@pytest.fixture
def bus(own_broker: Broker) -> Iterator[KafkaBus]:
    """One that outlives an outage."""
    with closing(made(own_broker, send_s=LONG_S, answer_s=LONG_S, close_s=LONG_S)) as found:
        yield found


def made(broker: Broker, **settings: float) -> KafkaBus:
    """A bus that has its topic."""
    bus = KafkaBus(KafkaSettings(broker.hosts, **settings))
    eventually(lambda: bus.ensure_topic(TOPIC, TopicSettings()))
    return bus


def eventually(act: Callable[[], T]) -> T:
    """Once more for as long as it fails."""
    until_s = time.monotonic() + LONG_S
    while True:
        try:
            return act()
        except BusError:
            if time.monotonic() > until_s:
                raise
            time.sleep(0.05)


def until(is_so: Callable[[], bool]) -> None:
    """Return once it is so; what is told by itself needs no question."""
    until_s = time.monotonic() + LONG_S
    while not is_so():
        assert time.monotonic() < until_s, "it does not come to that"
        time.sleep(0.02)


def test_a_short_outage_delays_messages_and_no_more(bus: KafkaBus, own_broker: Broker) -> None:
    put(bus, TOPIC, b"before")
    own_broker.pause()
    sent = [bus.send(TOPIC, b"%d" % number) for number in range(5)]
    assert not any(each.done() for each in sent)
    own_broker.resume()
    for each in sent:
        each.result(LIMIT_S)
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    assert values(reader, 6) == [b"before", b"0", b"1", b"2", b"3", b"4"]


def test_a_reader_goes_on_after_an_outage_where_it_was(bus: KafkaBus, own_broker: Broker) -> None:
    put(bus, TOPIC, b"a", b"b")
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    assert values(reader, 1) == [b"a"]
    own_broker.relay.break_off()
    sent = bus.send(TOPIC, b"c")
    assert values(reader, 1) == [b"b"]  # both came together
    assert nothing(reader)
    own_broker.relay.mend()
    sent.result(LIMIT_S)
    assert values(reader, 1) == [b"c"]


def test_a_long_outage_fails_what_was_sent_and_not_what_comes_after(own_broker: Broker) -> None:
    with closing(made(own_broker, send_s=SEND_S, answer_s=LONG_S)) as bus:
        reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
        own_broker.relay.break_off()
        with pytest.raises(BusError, match=rf"4 bytes to {TOPIC} is not sent.*timed out"):
            bus.send(TOPIC, b"lost").result(SEND_S + LIMIT_S)
        own_broker.relay.mend()
        eventually(lambda: bus.send(TOPIC, b"after").result(LIMIT_S))
        assert values(reader, 1) == [b"after"]


def test_messages_keep_their_order_over_broken_connections(bus: KafkaBus, own_broker: Broker) -> None:
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    sent = []
    for number in range(200):
        sent.append(bus.send(TOPIC, b"%04d" % number))
        if number % 100 == 50:
            sent[number - 40].result(LIMIT_S)
            own_broker.relay.cut()
    for each in sent:
        each.result(LIMIT_S)
    put(bus, TOPIC, b"last")
    found: list[bytes] = []
    while not found or found[-1] != b"last":
        found += values(reader, 1)
    # A batch whose answer was cut off is there twice, in its place.
    assert sorted(set(found[:-1])) == [b"%04d" % number for number in range(200)]
    firsts = list(dict.fromkeys(found[:-1]))
    assert firsts == sorted(firsts)


def test_a_message_whose_answer_was_lost_is_sent_again(bus: KafkaBus, own_broker: Broker) -> None:
    put(bus, TOPIC, b"before")
    own_broker.relay.lose_answers(1)
    put(bus, TOPIC, b"twice")
    put(bus, TOPIC, b"after")
    reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
    assert values(reader, 4) == [b"before", b"twice", b"twice", b"after"]


def test_every_question_has_an_end_while_the_broker_is_silent(own_broker: Broker) -> None:
    with closing(made(own_broker, answer_s=1.0)) as bus:
        reader = eventually(lambda: bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST))
        own_broker.pause()
        with pytest.raises(BusError, match="the position of invoker0 in topic invoker0 is not committed"):
            reader.commit({0: Position(1, "note")})
        with pytest.raises(BusError, match="topic invoker0 cannot be read by invoker1"):
            bus.subscribe(TOPIC, "invoker1", begin=From.EARLIEST)
        with pytest.raises(BusError, match="the position of invoker1 in topic invoker0 cannot be read"):
            bus.committed(TOPIC, "invoker1")
        own_broker.resume()
        eventually(lambda: reader.commit({0: Position(0, "note")}))
        assert eventually(lambda: bus.committed(TOPIC, "invoker0")) == {0: Position(0, "note")}


def test_a_broker_that_takes_its_time_is_read_all_the_same(own_broker: Broker) -> None:
    with closing(KafkaBus(KafkaSettings(own_broker.hosts))) as bus:
        bus.ensure_topic(TOPIC, TopicSettings())
        reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
        own_broker.relay.hold_fetches()
        put(bus, TOPIC, b"a")
        own_broker.relay.delay(1.2 * subscription.SURE_S)
        own_broker.relay.release_fetches()
        while not (found := reader.poll(timeout_s=1.0, most=1)):
            pass
        own_broker.relay.delay(0.0)
    assert [message.value for message in found] == [b"a"]


def test_a_bus_is_made_before_its_broker(own_broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("instar_controller.clients.kafka.bus.TRIES", 1)
    own_broker.kill()
    with closing(KafkaBus(KafkaSettings(own_broker.hosts, answer_s=2.0))) as bus:
        assert not bus.is_up()
        with pytest.raises(BusError, match=rf"topic {TOPIC} cannot be made at {own_broker.hosts}"):
            bus.ensure_topic(TOPIC, TopicSettings())
        with pytest.raises(BusError, match=f"topic {TOPIC} cannot be read"):
            bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
        own_broker.restart()
        eventually(lambda: bus.ensure_topic(TOPIC, TopicSettings()))
        put(bus, TOPIC, b"at last")
        found = eventually(lambda: values(bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST), 1))
        assert found == [b"at last"]
        until(bus.is_up)


def test_whether_it_is_up_is_known_without_asking(own_broker: Broker) -> None:
    with closing(made(own_broker, send_s=SEND_S, answer_s=LONG_S, silent_s=1.0)) as bus:
        reader = bus.subscribe(TOPIC, "invoker0", begin=From.EARLIEST)
        until(bus.is_up)
        own_broker.pause()
        sent = bus.send(TOPIC, b"unanswered")
        with pytest.raises(BusError):
            sent.result(SEND_S + LIMIT_S)
        until(lambda: not bus.is_up())
        own_broker.resume()
        eventually(lambda: bus.send(TOPIC, b"answered").result(LIMIT_S))
        until(bus.is_up)
        assert read(reader, 1)


def test_closing_fails_what_is_on_its_way(own_broker: Broker) -> None:
    bus = made(own_broker, close_s=3.0)
    put(bus, TOPIC, b"before")
    own_broker.pause()
    sent = [bus.send(TOPIC, b"%d" % number) for number in range(3)]
    bus.close()
    for each in sent:
        assert "the bus was closed before" in str(each.exception(0))


def test_closing_sends_what_is_on_its_way_if_that_is_quick(bus: KafkaBus, own_broker: Broker) -> None:
    own_broker.relay.delay(0.1)
    sent = bus.send(TOPIC, b"just so")
    bus.close()
    assert sent.exception(0) is None
