"""A cluster for each test, on a broker and a database server that all share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import Broker, broker, own_broker, topic_prefix
from clusters import Cluster
from databases import Databases
from own_engines import breakable_engine, own_docker
from zookeepers import place, zookeeper

__all__ = ["breakable_engine", "broker", "own_broker", "own_docker", "place", "topic_prefix", "zookeeper"]


@pytest.fixture
def cluster(broker: Broker, databases: Databases, topic_prefix: str, tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(broker.hosts, databases, tmp_path, prefix=topic_prefix)
    yield made
    made.close()
