"""How an invoker ends, and what its next life finds: every activation has one completion and one record."""

from __future__ import annotations

import signal

import pytest
from clusters import MEETING, Cluster
from meetings import Meeting

pytestmark = pytest.mark.system


def test_a_drain_waits_for_what_runs_and_takes_nothing_on(cluster: Cluster) -> None:
    revision = cluster.put("guest/meeting", MEETING)
    invoker = cluster.invoker()
    with Meeting() as meeting:
        running = cluster.controller.invoke("guest/meeting", {"port": meeting.port}, revision=revision)
        meeting.wait_for(1)
        invoker.process.send_signal(signal.SIGTERM)
        invoker.event("draining")
        status, said = invoker.ask("/readyz")
        assert (status, said.splitlines()[0]) == (503, "it is ending")
        assert invoker.ask("/livez") == (200, "ok")
        pings = cluster.controller.pings
        cluster.controller.wait(lambda: bool(pings) and pings[-1]["isEnabled"] is False, "last ping")
        late = cluster.controller.invoke("guest/meeting", {"port": meeting.port}, revision=revision)
        cluster.controller.flush()
        assert not running.acks
    assert invoker.wait() == 0
    cluster.controller.hear_all()
    assert running.response == (0, {"met": True})
    assert len(running.completions) == 1
    assert cluster.containers() == []
    assert late.acks == []
    with Meeting() as meeting:  # what was not taken on is the next one's; its meeting is over, which it is told
        second = cluster.invoker()
        cluster.controller.completion(late)
        assert second.end(signal.SIGTERM) == 0
    assert set(cluster.records()) == {running.id, late.id}


def test_what_does_not_finish_in_time_is_answered_as_the_platforms_failure(cluster: Cluster) -> None:
    revision = cluster.put("guest/meeting", MEETING)
    invoker = cluster.invoker("--drain", "0.5")
    with Meeting() as meeting:
        sent = cluster.controller.invoke("guest/meeting", {"port": meeting.port}, revision=revision)
        meeting.wait_for(1)
        assert invoker.end(signal.SIGTERM) == 0
        cluster.controller.hear_all()
        assert sent.completions[0].message["isSystemError"] is True
    assert sent.response[0] == 3
    assert [len(sent.completions), len(sent.results)] == [1, 1]
    assert set(cluster.records()) == {sent.id}
    assert cluster.containers() == []


def test_a_killed_invokers_work_is_not_run_again_and_its_containers_are_gone(cluster: Cluster) -> None:
    revision = cluster.put("guest/meeting", MEETING)
    again = cluster.put("guest/echo")
    first = cluster.invoker()
    with Meeting() as meeting:
        lost = cluster.controller.invoke("guest/meeting", {"port": meeting.port}, revision=revision)
        meeting.wait_for(1)
        first.end(signal.SIGKILL)
    waiting = cluster.controller.invoke("guest/echo", {"a": 2}, revision=again)
    second = cluster.invoker()
    assert cluster.controller.result(waiting) == {"a": 2}
    assert second.metric("instar_messages_total", fate="run") == 1
    assert second.end(signal.SIGTERM) == 0
    cluster.controller.hear_all()
    assert lost.acks == []  # at most once, as with the stock invoker: its controller gives up on it
    assert set(cluster.records()) == {waiting.id}
    assert cluster.containers() == []


def test_what_may_run_again_does_after_a_kill(cluster: Cluster) -> None:
    revision = cluster.put("guest/meeting", MEETING, annotations={"at_least_once": True})
    first = cluster.invoker()
    with Meeting() as meeting:
        sent = cluster.controller.invoke("guest/meeting", {"port": meeting.port}, revision=revision)
        meeting.wait_for(1)
        first.end(signal.SIGKILL)
        second = cluster.invoker()
        meeting.wait_for(2)
    cluster.controller.completion(sent)
    assert second.end(signal.SIGTERM) == 0
    cluster.controller.hear_all()
    assert (len(sent.completions), sent.response) == (1, (0, {"met": True}))
    assert set(cluster.records()) == {sent.id}
