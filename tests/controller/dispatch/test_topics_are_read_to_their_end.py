"""A dispatcher reads what nodes and controllers were sent, and comes to an end with that."""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing

import pytest

from instar_controller.clients.memory_bus import MemoryBus
from instar_controller.cluster_ports import From, Position, TopicSettings
from instar_controller.engines.evidence import Evidence, ReadingSettings
from instar_controller.errors import BusError

TOPIC = "completed0"
NODE = "instar-node-a"


@pytest.fixture
def bus() -> MemoryBus:
    made = MemoryBus()
    made.ensure_topic(TOPIC, TopicSettings())
    return made


def evidence(bus: MemoryBus, *, whole_s: float) -> Evidence:
    reading = ReadingSettings(poll_s=0.0, whole_s=whole_s)
    return Evidence(bus, "instar-dispatcher-0", now=time.monotonic, settings=reading)


def test_a_controllers_position_beyond_the_end_of_its_topic_is_not_waited_for(bus: MemoryBus) -> None:
    """It is of a topic that was lost, and a controller's position does not say so."""
    with closing(bus.subscribe(TOPIC, TOPIC, begin=From.EARLIEST)) as controller:
        controller.commit({0: Position(1_000)})
    assert evidence(bus, whole_s=60.0).completed(TOPIC, 0, 0) == set()


class Forgetful(MemoryBus):
    """Says that it has taken what it is sent, and loses it."""

    def send(self, topic: str, value: bytes) -> Future[None]:
        sent: Future[None] = Future()
        sent.set_result(None)
        return sent


def test_who_waits_for_an_end_that_was_lost_stops_with_the_dispatcher() -> None:
    bus = Forgetful()
    bus.ensure_topic(NODE, TopicSettings())
    reading = evidence(bus, whole_s=3_600.0)
    with ThreadPoolExecutor(1) as pool:
        found = pool.submit(reading.sent, NODE, 0)  # up to its own marker, which does not come
        reading.close()
        with pytest.raises(BusError, match=f"topic {NODE} is read no further: the dispatcher ends"):
            found.result(60.0)
