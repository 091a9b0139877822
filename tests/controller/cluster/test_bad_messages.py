"""Messages that make no sense, or come at a strange time, cost nobody else anything."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest
from clusters import Cluster
from programs import RunningProgram
from whisk_controllers import now_ms

pytestmark = pytest.mark.system

FIVE_MINUTES_MS = 300_000


@pytest.fixture
def invoker(cluster: Cluster) -> Iterator[RunningProgram]:
    running = cluster.invoker()
    yield running
    assert running.end(signal.SIGTERM) == 0


def test_poison_is_passed_over_and_counted(cluster: Cluster, invoker: RunningProgram) -> None:
    revision = cluster.put("guest/echo")
    poison = [b"", b"{", b"[]", b"\xff\xfe", b"null", json.dumps({"activationId": "0" * 32}).encode(), b"[" * 100_000]
    for value in poison:
        cluster.controller.send("invoker0", value)
    sent = cluster.controller.invoke("guest/echo", {"a": 1}, revision=revision)
    assert cluster.controller.result(sent) == {"a": 1}
    assert invoker.metric("instar_messages_total", fate="unparsable") == len(poison)
    assert cluster.controller.strange == []


def test_an_action_that_is_not_there_is_the_callers_error(cluster: Cluster, invoker: RunningProgram) -> None:
    sent = cluster.controller.invoke("guest/gone", revision="1-0123456789abcdef0123456789abcdef")
    assert cluster.controller.completion(sent).message["isSystemError"] is False
    assert sent.response == (1, {"error": "Action could not be found or may have been deleted."})


def test_an_old_revision_runs_as_the_action_is_now(cluster: Cluster, invoker: RunningProgram) -> None:
    cluster.put("guest/echo")
    sent = cluster.controller.invoke("guest/echo", {"a": 1}, revision="7-0123456789abcdef0123456789abcdef")
    assert cluster.controller.result(sent) == {"a": 1}


@pytest.mark.parametrize("skew_ms", [-FIVE_MINUTES_MS, FIVE_MINUTES_MS])
def test_a_clock_that_is_five_minutes_off_shows_in_the_wait_time_only(
    cluster: Cluster, invoker: RunningProgram, skew_ms: int
) -> None:
    revision = cluster.put("guest/echo")
    sent = cluster.controller.invoke("guest/echo", {}, revision=revision, start_ms=now_ms() + skew_ms)
    assert cluster.controller.completion(sent).message["transid"] == sent.transid
    assert sent.response == (0, {})
    wait_ms = sent.annotations["waitTime"]
    assert wait_ms == 0 if skew_ms > 0 else FIVE_MINUTES_MS <= wait_ms < FIVE_MINUTES_MS + 60_000


def test_the_same_message_twice_is_run_once(cluster: Cluster, invoker: RunningProgram) -> None:
    revision = cluster.put("guest/echo")
    sent = cluster.controller.invoke("guest/echo", {"a": 1}, revision=revision)
    cluster.controller.completion(sent)
    same = cluster.controller.invoke("guest/echo", {"a": 2}, revision=revision, id=sent.id)
    other = cluster.controller.invoke("guest/echo", {"a": 3}, revision=revision)
    cluster.controller.completion(other)
    assert same.acks == []
    assert invoker.metric("instar_messages_total", fate="duplicate") == 1
