"""Containers are killed before, in, after and between runs: each activation has one completion and one record.

The same for containers made of processes and for those of a Docker engine.
"""

from __future__ import annotations

import signal
import time

import pytest
from clusters import MEETING, Cluster
from meetings import Meeting
from own_engines import OwnEngine
from programs import RunningProgram
from whisk_controllers import Sent

# The first test with Docker starts the engine and makes its image.
pytestmark = [pytest.mark.system, pytest.mark.timeout(300, func_only=True)]

WAIT_S = 60.0  # for anything that is sure to happen
STEP_S = 0.01
COMING = """
import socket
with socket.create_connection((HOST, PORT)) as meeting:
    meeting.recv(1)
def main(args):
    return {}
"""  # waits while it is initialised
# Answers, and has its log not end before it was met.
LINGERING = """
import socket
def main(args):
    print("run", flush=True)
    return args
def after(args):
    with socket.create_connection((args["host"], args["port"])) as meeting:
        meeting.recv(1)
"""


class Ground:
    """What an invoker's containers are made of, and how they are killed."""

    host = "127.0.0.1"  # where containers reach the test

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def invoker(self, *options: str, **changed: str) -> RunningProgram:
        return self._cluster.invoker(*options, **changed)

    def kill(self) -> None:
        """Kill all containers; they are dead when this returns."""
        there = set(self._cluster.containers())
        self._cluster.kill_containers()
        deadline_s = time.monotonic() + WAIT_S
        while there & set(self._cluster.containers()):
            assert time.monotonic() < deadline_s, "a killed process is still there"
            time.sleep(STEP_S)

    def is_empty(self) -> bool:
        return self._cluster.containers() == []


class DockerGround(Ground):
    def __init__(self, cluster: Cluster, engine: OwnEngine) -> None:
        super().__init__(cluster)
        self.host = engine.gateway
        self._engine = engine

    def invoker(self, *options: str, **changed: str) -> RunningProgram:
        return super().invoker(*options, **self._engine.environment, **changed)

    def kill(self) -> None:
        self._engine.kill_containers()

    def is_empty(self) -> bool:
        return self._engine.containers() == set()


@pytest.fixture(params=["process", "docker"])
def ground(request: pytest.FixtureRequest) -> Ground:
    # The engine first, so that it goes last.
    engine: OwnEngine | None = request.getfixturevalue("own_docker") if request.param == "docker" else None
    cluster: Cluster = request.getfixturevalue("cluster")
    return Ground(cluster) if engine is None else DockerGround(cluster, engine)


def assert_ended_well(cluster: Cluster, invoker: RunningProgram, ground: Ground, *sent: Sent) -> None:
    """End the invoker; each activation was completed once and has one record, and no container is left."""
    assert invoker.end(signal.SIGTERM) == 0
    cluster.controller.hear_all()
    assert [len(each.completions) for each in sent] == [1] * len(sent)
    assert [len(each.results) for each in sent] == [1] * len(sent)
    assert set(cluster.records()) == {each.id for each in sent}
    assert ground.is_empty()


def start_of(sent: Sent) -> str:
    kind: str = sent.annotations["instar"]["start"]
    return kind


def test_one_that_dies_after_its_answer_has_answered_and_the_next_run_gets_another(
    ground: Ground, cluster: Cluster
) -> None:
    """Whether its log was read by then is a matter of chance, and makes no difference but to the log."""
    revision = cluster.put("guest/echo")
    invoker = ground.invoker()
    sent = []
    for n in range(2):
        sent.append(cluster.controller.invoke("guest/echo", {"n": n}, revision=revision))
        assert cluster.controller.result(sent[-1]) == {"n": n}
        ground.kill()
    for each in sent:
        cluster.controller.completion(each)
    assert [start_of(each) for each in sent] == ["cold"] * 2
    assert_ended_well(cluster, invoker, ground, *sent)


def test_a_stem_cell_that_dies_before_its_first_run_is_replaced_unnoticed(ground: Ground, cluster: Cluster) -> None:
    revision = cluster.put("guest/echo")
    invoker = ground.invoker(INSTAR_PREWARM="python:3:256:1")
    # Not by its event, which may come before the one that says that the invoker works.
    invoker.wait_for_metric(lambda count: count == 1, "instar_containers", state="prewarmed")
    ground.kill()
    assert invoker.event("removed")["reason"] == "ended by itself"
    sent = cluster.controller.invoke("guest/echo", {"n": 1}, revision=revision)
    assert cluster.controller.result(sent) == {"n": 1}
    cluster.controller.completion(sent)
    assert_ended_well(cluster, invoker, ground, sent)


def test_one_that_dies_while_its_function_comes_is_the_actions_error(ground: Ground, cluster: Cluster) -> None:
    with Meeting(ground.host) as meeting:
        code = COMING.replace("HOST", repr(meeting.host)).replace("PORT", str(meeting.port))
        revision = cluster.put("guest/coming", code)
        invoker = ground.invoker()
        sent = cluster.controller.invoke("guest/coming", revision=revision)
        meeting.wait_for(1)
        ground.kill()
        cluster.controller.completion(sent)
        assert sent.response[0] == 2
        again = cluster.controller.invoke("guest/coming", revision=revision)
        meeting.wait_for(2)
    cluster.controller.completion(again)
    assert (again.response, start_of(again)) == ((0, {}), "cold")
    assert_ended_well(cluster, invoker, ground, sent, again)


def test_one_that_dies_in_a_run_is_the_actions_error_and_the_next_run_gets_another(
    ground: Ground, cluster: Cluster
) -> None:
    revision = cluster.put("guest/meeting", MEETING)
    invoker = ground.invoker()
    with Meeting(ground.host) as meeting:
        where = {"host": meeting.host, "port": meeting.port}
        sent = cluster.controller.invoke("guest/meeting", where, revision=revision)
        meeting.wait_for(1)
        ground.kill()
        assert cluster.controller.completion(sent).message["isSystemError"] is False
        assert sent.response[0] == 2
        again = cluster.controller.invoke("guest/meeting", where, revision=revision)
        meeting.wait_for(2)
    cluster.controller.completion(again)
    assert (again.response, start_of(again)) == ((0, {"met": True}), "cold")
    invoker.wait_for_metric(lambda count: count == 1, "instar_activations_total", status="action developer error")
    assert_ended_well(cluster, invoker, ground, sent, again)


def test_one_that_dies_between_its_answer_and_the_end_of_its_log_keeps_what_it_wrote(
    own_docker: OwnEngine, cluster: Cluster
) -> None:
    ground = DockerGround(cluster, own_docker)
    revision = cluster.put("guest/lingering", LINGERING)
    invoker = ground.invoker()
    with Meeting(ground.host) as meeting:
        where = {"host": meeting.host, "port": meeting.port}
        sent = cluster.controller.invoke("guest/lingering", where, revision=revision)
        assert cluster.controller.result(sent) == where
        meeting.wait_for(1)
        ground.kill()
        cluster.controller.completion(sent)
        # Who waits for the end of its log and who waits for its end hear of it in the same moment.
        assert invoker.event("removed")["reason"] in ("log without end", "ended by itself")
        again = cluster.controller.invoke("guest/lingering", where, revision=revision)
        meeting.wait_for(2)
    cluster.controller.completion(again)
    assert (again.response, start_of(again)) == ((0, where), "cold")
    assert_ended_well(cluster, invoker, ground, sent, again)
    (line, *_) = cluster.records()[sent.id]["logs"]
    assert line.endswith("stdout: run")
