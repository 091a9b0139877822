"""What has to arrive is sent until the bus has it, in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import Future

import pytest
from mortals import Death, MortalBus
from rigs import ANSWERS, WAIT_S, Cluster

from instar_controller.cluster_ports import TopicSettings
from instar_controller.engines.outbox import Outbox, OutboxSettings, Parcel


@pytest.fixture
def outbox(cluster: Cluster) -> Iterator[Outbox]:
    made = Outbox(cluster.bus, OutboxSettings(first_pause_s=0.002, longest_pause_s=0.01))
    made.start()
    yield made
    cluster.bus.come_back()
    made.close(0.05)


def test_in_order_although_the_bus_goes_and_comes(cluster: Cluster, outbox: Outbox) -> None:
    sent = [b"%d" % number for number in range(60)]
    for number, value in enumerate(sent):
        if number % 20 == 5:
            cluster.bus.go_down()
        if number % 20 == 15:
            cluster.bus.come_back()
        outbox.send(Parcel(ANSWERS, value))
    assert cluster.bus.wait_for(ANSWERS, len(sent), timeout_s=WAIT_S) == sent


def test_those_that_failed_together_keep_their_order(cluster: Cluster, outbox: Outbox) -> None:
    cluster.bus.hold()
    for value in (b"1", b"2", b"3"):
        outbox.send(Parcel(ANSWERS, value))
    cluster.bus.go_down()
    cluster.bus.release()
    outbox.send(Parcel(ANSWERS, b"4"))
    cluster.bus.come_back()
    assert cluster.bus.wait_for(ANSWERS, 4, timeout_s=WAIT_S) == [b"1", b"2", b"3", b"4"]


def test_who_sends_while_the_last_one_that_waits_is_being_sent_again_comes_after_it(cluster: Cluster) -> None:
    begun, may_go_on = threading.Event(), threading.Event()

    class Hesitating(MortalBus):
        def send(self, topic: str, value: bytes) -> Future[None]:
            if threading.current_thread().name == "instar-outbox":
                begun.set()
                assert may_go_on.wait(WAIT_S)
            return super().send(topic, value)

    outbox = Outbox(Hesitating(cluster.bus, Death()), OutboxSettings(first_pause_s=0.002, longest_pause_s=0.01))
    outbox.start()
    cluster.bus.refuse(ANSWERS)
    outbox.send(Parcel(ANSWERS, b"1"))
    assert begun.wait(WAIT_S)
    cluster.bus.accept(ANSWERS)
    outbox.send(Parcel(ANSWERS, b"2"))
    may_go_on.set()
    assert outbox.close(WAIT_S) == 0
    assert cluster.bus.sent(ANSWERS) == [b"1", b"2"]


def test_it_says_when_the_bus_has_it(cluster: Cluster, outbox: Outbox) -> None:
    arrived = threading.Event()
    cluster.bus.go_down()
    outbox.send(Parcel(ANSWERS, b"x", on_sent=arrived.set))
    assert not arrived.wait(0.03)
    assert outbox.waiting == 1
    cluster.bus.come_back()
    assert arrived.wait(WAIT_S)
    assert outbox.close(WAIT_S) == 0  # that it is none of those under way any more is noted after that was said


def test_what_is_not_wanted_any_more_is_not_sent(cluster: Cluster, outbox: Outbox) -> None:
    settled = threading.Event()
    is_wanted = True
    cluster.bus.go_down()
    outbox.send(Parcel(ANSWERS, b"late", is_wanted=lambda: is_wanted, on_sent=settled.set))
    is_wanted = False
    assert settled.wait(WAIT_S)
    cluster.bus.come_back()
    assert outbox.close(WAIT_S) == 0
    assert cluster.bus.sent(ANSWERS) == []


def test_what_is_too_large_goes_smaller_or_not_at_all(cluster: Cluster, outbox: Outbox) -> None:
    cluster.bus.ensure_topic("small", TopicSettings(max_message_bytes=4))
    settled = threading.Semaphore(0)
    outbox.send(Parcel("small", b"too large", lambda: b"less", on_sent=lambda: settled.release()))
    outbox.send(Parcel("small", b"too large", on_sent=lambda: settled.release()))
    outbox.send(Parcel("small", b"too large", lambda: b"still too large", on_sent=lambda: settled.release()))
    outbox.send(Parcel("small", b"ok", on_sent=lambda: settled.release()))
    for _ in range(4):
        assert settled.acquire(timeout=WAIT_S)
    assert cluster.bus.sent("small") == [b"less", b"ok"]


def test_the_end_waits_for_what_is_under_way_and_not_for_ever(cluster: Cluster, outbox: Outbox) -> None:
    cluster.bus.go_down()
    outbox.send(Parcel(ANSWERS, b"x"))
    assert outbox.close(0.02) == 1
