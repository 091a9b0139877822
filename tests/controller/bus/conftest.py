"""The buses under test: the one in memory, and the one over a broker of our own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from instar_controller.clients.memory_bus import MemoryBus
from instar_controller.cluster_ports import Bus, TopicSettings

SMALL = TopicSettings(max_message_bytes=10_000)


@pytest.fixture(params=["memory"])
def bus() -> Iterator[Bus]:
    made = MemoryBus()
    yield made
    made.close()


@pytest.fixture
def topic(bus: Bus) -> str:
    """A topic of one partition that nobody has used yet."""
    bus.ensure_topic("invoker0", SMALL)
    return "invoker0"
