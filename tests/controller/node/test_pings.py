"""An invoker says that it is there, and at once when that changes."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from rigs import INSTANCE, WAIT_S, Cluster

from instar_controller.cluster_ports import TopicSettings
from instar_controller.engines.pinging import Pinging
from instar_controller.whisk import pings
from instar_controller.whisk.pings import PingMessage

HEALTH = "health"
NEVER_S = 3600.0


@pytest.fixture
def health(cluster: Cluster) -> Cluster:
    cluster.bus.ensure_topic(HEALTH, TopicSettings())
    return cluster


@pytest.fixture
def make_pinging(health: Cluster) -> Iterator[list[Pinging]]:
    made: list[Pinging] = []
    yield made
    health.bus.come_back()
    for pinging in made:
        pinging.close()


def begin(health: Cluster, made: list[Pinging], interval_s: float) -> Pinging:
    made.append(Pinging(health.bus, HEALTH, INSTANCE, interval_s=interval_s))
    made[-1].start()
    return made[-1]


def said(health: Cluster, count: int) -> list[PingMessage]:
    return [pings.parse(value) for value in health.bus.wait_for(HEALTH, count, timeout_s=WAIT_S)]


def test_it_says_so_again_and_again(health: Cluster, make_pinging: list[Pinging]) -> None:
    begin(health, make_pinging, 0.001)
    assert said(health, 5)[:5] == [PingMessage(INSTANCE)] * 5


def test_what_changes_is_said_at_once(health: Cluster, make_pinging: list[Pinging]) -> None:
    pinging = begin(health, make_pinging, NEVER_S)
    said(health, 1)
    pinging.disable()
    said(health, 2)
    pinging.enable()
    assert [ping.is_enabled for ping in said(health, 3)] == [True, False, True]
    assert pinging.is_enabled


def test_the_last_word_is_that_it_goes(health: Cluster, make_pinging: list[Pinging]) -> None:
    pinging = begin(health, make_pinging, NEVER_S)
    said(health, 1)
    pinging.close()
    make_pinging.clear()
    assert [ping.is_enabled for ping in said(health, 2)] == [True, False]
    pinging.enable()
    assert not pinging.is_enabled


def wait_until_held(health: Cluster, count: int) -> None:
    until_s = time.monotonic() + WAIT_S
    while len(health.bus._held or ()) < count:
        assert time.monotonic() < until_s
        time.sleep(0.001)


def test_a_bus_that_is_down_gets_no_heap_of_pings(health: Cluster, make_pinging: list[Pinging]) -> None:
    health.bus.hold()
    pinging = begin(health, make_pinging, 0.001)
    wait_until_held(health, 1)
    pinging.disable()  # news is sent all the same
    wait_until_held(health, 2)
    pinging.enable()
    wait_until_held(health, 3)
    time.sleep(0.05)  # it was time for another one often enough
    assert len(health.bus._held or ()) == 3
    health.bus.release()
    assert [ping.is_enabled for ping in said(health, 4)[:4]] == [True, False, True, True]
    health.bus.go_down()
    health.bus.come_back()
    before = len(health.bus.sent(HEALTH))
    assert said(health, before + 2)[-1].is_enabled
