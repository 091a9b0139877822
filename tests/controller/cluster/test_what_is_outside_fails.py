"""The broker or the database is not there, goes, or comes back: work waits, is answered, and is kept once."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from brokers import Broker
from clusters import MEETING, Cluster
from databases import Databases
from faulty_proxy import FaultyProxy
from meetings import Meeting

pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]


@pytest.fixture
def unused_port() -> Iterator[int]:
    """Nobody listens on it, and nobody else gets it meanwhile."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        yield port


@pytest.fixture
def alone(own_broker: Broker, databases: Databases, tmp_path: Path) -> Iterator[Cluster]:
    """A cluster whose broker a test may break."""
    made = Cluster(own_broker.hosts, databases, tmp_path, prefix="")
    yield made
    made.close()


def test_an_invoker_waits_for_a_broker_and_says_so(cluster: Cluster, unused_port: int) -> None:
    invoker = cluster.begin_invoker(KAFKA_HOSTS=f"127.0.0.1:{unused_port}")
    assert invoker.event("waiting")["for"] == "the bus"
    status, said = invoker.ask("/readyz")
    assert status == 503
    assert said.splitlines()[:2] == ["it is starting", "the bus does not answer"]
    assert invoker.ask("/livez") == (200, "ok")
    assert invoker.end(signal.SIGTERM) == 0


def test_an_invoker_waits_for_its_database_and_reads_nothing_before(
    cluster: Cluster, faulty_database: FaultyProxy
) -> None:
    revision = cluster.put("guest/echo")
    faulty_database.go_down()
    invoker = cluster.begin_invoker(CONFIG_whisk_couchdb_port=str(faulty_database.port))
    while invoker.event("waiting")["for"] != "the database":  # the bus is waited for first, if it is slow
        pass
    sent = cluster.controller.invoke("guest/echo", {"a": 1}, revision=revision)
    cluster.controller.flush()
    assert invoker.ask("/readyz")[0] == 503
    faulty_database.come_back()
    invoker.event("working")
    assert cluster.controller.result(sent) == {"a": 1}
    assert invoker.end(signal.SIGTERM) == 0


def test_answers_and_records_wait_for_a_broker_that_is_paused(alone: Cluster, own_broker: Broker) -> None:
    revision = alone.put("guest/meeting", MEETING)
    invoker = alone.invoker()
    with Meeting() as meeting:
        sent = alone.controller.invoke("guest/meeting", {"port": meeting.port}, revision=revision)
        meeting.wait_for(1)
        own_broker.pause()
    # It has finished while nobody could be told.
    assert invoker.metric("instar_acks_total", kind="CompletionMessage", fate="sent") is None
    own_broker.resume()
    alone.controller.completion(sent)
    assert (len(sent.completions), sent.response) == (1, (0, {"met": True}))
    assert invoker.end(signal.SIGTERM) == 0
    assert set(alone.records()) == {sent.id}
