"""The Docker engine ends, is killed or stands still, and comes back: work waits meanwhile, and nothing is left over.

Each activation has one completion and one record.
"""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest
from clusters import MEETING, Cluster
from meetings import Meeting
from own_engines import OwnEngine
from programs import RunningProgram
from whisk_controllers import Sent

# The first test of a file starts the engine and makes its image; each of them waits several times until somebody
# notices that it has gone, or come back.
pytestmark = [pytest.mark.system, pytest.mark.timeout(300, func_only=True)]


def wait_until_held(invoker: RunningProgram) -> None:
    """Wait until it knows that there is no engine, and reads nothing any more."""
    invoker.wait_for_metric(lambda held: held == 1, "instar_held")


def assert_answered_once(cluster: Cluster, *sent: Sent) -> None:
    """To be called when no program works any more."""
    cluster.controller.hear_all()
    assert [len(each.completions) for each in sent] == [1] * len(sent)
    assert set(cluster.records()) == {each.id for each in sent}


BREAKS = [
    pytest.param(OwnEngine.end, id="ended"),
    pytest.param(OwnEngine.kill, id="killed"),
]


def test_an_invoker_waits_for_an_engine_reads_nothing_before_and_hears_a_signal(
    own_docker: OwnEngine, cluster: Cluster
) -> None:
    echo = cluster.put("guest/echo")
    own_docker.end()
    first = cluster.begin_invoker(**own_docker.environment)
    assert first.event("waiting")["for"] == "the Docker engine"
    assert first.end(signal.SIGTERM) == 0
    second = cluster.begin_invoker(**own_docker.environment)
    assert second.event("waiting")["for"] == "the Docker engine"
    sent = cluster.controller.invoke("guest/echo", {"a": 1}, revision=echo)
    cluster.controller.flush()
    assert second.ask("/readyz")[0] == 503
    assert second.ask("/livez") == (200, "ok")
    own_docker.start()
    assert cluster.controller.result(sent) == {"a": 1}
    assert second.end(signal.SIGTERM) == 0
    assert_answered_once(cluster, sent)


@pytest.mark.parametrize("break_it", BREAKS)
def test_work_waits_for_an_engine_that_has_gone_and_none_of_its_containers_is_left(
    own_docker: OwnEngine, cluster: Cluster, break_it: Callable[[OwnEngine], None]
) -> None:
    echo, meet = cluster.put("guest/echo"), cluster.put("guest/meeting", MEETING)
    invoker = cluster.invoker(**own_docker.environment)
    cluster.controller.wait_for_ping()
    with Meeting(own_docker.gateway) as meeting:
        where = {"host": meeting.host, "port": meeting.port}
        running = cluster.controller.invoke("guest/meeting", where, revision=meet)
        meeting.wait_for(1)
        before = own_docker.containers()
        break_it(own_docker)
        # Its container has gone, for all that one can know: it is answered as one that has died.
        cluster.controller.completion(running)
        assert running.response[0] == 2
        cluster.controller.wait_for_ping(enabled=False)
        wait_until_held(invoker)
        status, said = invoker.ask("/readyz")
        assert (status, "the Docker engine does not answer" in said) == (503, True)
        assert invoker.ask("/livez") == (200, "ok")
        assert invoker.metric("instar_up", what="engine") == 0
        late = cluster.controller.invoke("guest/echo", {"a": 1}, revision=echo)
        cluster.controller.flush()
        own_docker.start()
        assert cluster.controller.result(late) == {"a": 1}
    cluster.controller.wait_for_ping()
    invoker.wait_until_ready()
    own_docker.wait_until_gone(before)
    assert invoker.end(signal.SIGTERM) == 0
    assert own_docker.containers() == set()
    assert_answered_once(cluster, running, late)


def test_work_waits_for_an_engine_that_stands_still_and_what_runs_is_answered(
    own_docker: OwnEngine, cluster: Cluster
) -> None:
    echo, meet = cluster.put("guest/echo"), cluster.put("guest/meeting", MEETING)
    invoker = cluster.invoker(**own_docker.environment)
    with Meeting(own_docker.gateway) as meeting:
        where = {"host": meeting.host, "port": meeting.port}
        running = cluster.controller.invoke("guest/meeting", where, revision=meet)
        meeting.wait_for(1)
        before = own_docker.containers()
        own_docker.stand_still()
        wait_until_held(invoker)
        late = cluster.controller.invoke("guest/echo", {"a": 1}, revision=echo)
        cluster.controller.flush()
    # Its container goes on all the same; only the end of its log does not come.
    cluster.controller.completion(running)
    assert running.response == (0, {"met": True})
    assert not late.acks
    own_docker.go_on()
    assert cluster.controller.result(late) == {"a": 1}
    own_docker.wait_until_gone(before)
    assert invoker.end(signal.SIGTERM) == 0
    assert own_docker.containers() == set()
    assert_answered_once(cluster, running, late)


def test_an_invoker_ends_without_its_engine_and_the_next_one_finds_what_is_left(
    own_docker: OwnEngine, cluster: Cluster
) -> None:
    meet = cluster.put("guest/meeting", MEETING)
    invoker = cluster.invoker("--drain", "0.5", **own_docker.environment)
    with Meeting(own_docker.gateway) as meeting:
        where = {"host": meeting.host, "port": meeting.port}
        running = cluster.controller.invoke("guest/meeting", where, revision=meet)
        meeting.wait_for(1)
        own_docker.stand_still()
        assert invoker.end(signal.SIGTERM) == 0
    assert cluster.controller.completion(running).message["isSystemError"] is True
    assert_answered_once(cluster, running)
    own_docker.go_on()
    left = own_docker.containers()
    assert len(left) == 1
    second = cluster.invoker(**own_docker.environment)
    own_docker.wait_until_gone(left)
    assert second.end(signal.SIGTERM) == 0


def test_a_node_without_an_engine_draws_no_work_from_the_others(own_docker: OwnEngine, cluster: Cluster) -> None:
    echo = cluster.put("guest/echo")
    broken = cluster.node("broken", **own_docker.environment)
    other = cluster.node("other")
    dispatcher = cluster.dispatcher()
    dispatcher.wait_for_metric(lambda alive: alive == 2, "instar_nodes", state="alive")
    own_docker.kill()
    wait_until_held(broken)
    dispatcher.wait_for_metric(lambda alive: alive == 1, "instar_nodes", state="alive")
    sent = [cluster.controller.invoke("guest/echo", {"n": n}, revision=echo) for n in range(8)]
    assert [cluster.controller.result(each) for each in sent] == [{"n": n} for n in range(8)]
    other.wait_for_metric(lambda run: run == len(sent), "instar_messages_total", fate="run")
    own_docker.start()
    dispatcher.wait_for_metric(lambda alive: alive == 2, "instar_nodes", state="alive")
    for program in (dispatcher, broken, other):
        assert program.end(signal.SIGTERM) == 0
    assert_answered_once(cluster, *sent)
