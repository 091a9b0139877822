"""A cluster in memory, and nodes on it that close when their test ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest
from rigs import Cluster, Life


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """`gate` and `reached` are events that functions see among their global names."""
    gate = threading.Event()
    yield Cluster({"gate": gate, "reached": threading.Event()})
    gate.set()


@pytest.fixture
def make_node(cluster: Cluster) -> Iterator[Callable[..., Life]]:
    """Makes nodes and starts them; each takes the fields of `Life`."""
    made: list[Life] = []

    def make(**fields: object) -> Life:
        made.append(Life(cluster, **fields).start())  # type: ignore[arg-type]
        return made[-1]

    yield make
    gate = cluster.world["gate"]
    assert isinstance(gate, threading.Event)
    gate.set()
    cluster.bus.come_back()
    for life in made:
        life.close()


@pytest.fixture
def node(make_node: Callable[..., Life]) -> Life:
    return make_node()
