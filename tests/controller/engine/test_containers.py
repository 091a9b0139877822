"""What every maker of containers promises: one suite over threads, processes and Docker."""

from __future__ import annotations

import json
import queue
import signal
import socket
import threading

import pytest
from makers import Maker

from instar_controller.errors import ContainerError
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import UNTOUCHED, Containers, Ending, PendingLog
from instar_controller.whisk.response import Disconnected, Outcome, Replied, TimedOut

C1, C2 = ContainerId("c1"), ContainerId("c2")
MIB = 1 << 20
MARK = "the mark"
OWNER = {"__OW_NAMESPACE": "guest", "__OW_ACTION_NAME": "/guest/f"}  # of all the functions: plans are for one owner's

SPEAKING = """
import sys
print("imported")
def main(args):
    print("out", args["n"])
    print("err", args["n"], file=sys.stderr)
    return args
"""
DOUBLING = "print('loaded')\ndef main(args):\n    print('doubled', args['n'])\n    return {'n': args['n'] * 2}\n"
RAISING = "def main(args):\n    return {'x': 1 / 0}\n"
MEETING = """
import socket
def main(args):
    with socket.create_connection((args["host"], args["port"])) as meeting:
        meeting.recv(1)
    return {}
"""  # runs until the test that it calls hangs up


def start(containers: Containers, id: ContainerId = C1) -> queue.SimpleQueue[ContainerId]:
    """Start a container; the queue gets its id when it has ended."""
    ended: queue.SimpleQueue[ContainerId] = queue.SimpleQueue()
    containers.start(id, kind="python:3", memory_mb=256, key=None, on_exit=ended.put)
    return ended


def init(containers: Containers, code: str, id: ContainerId = C1) -> PendingLog:
    log = containers.begin_log(id, limit_bytes=MIB)
    value = {"name": "f", "main": "main", "binary": False, "code": code, "env": OWNER}
    body = json.dumps({"value": value}).encode()
    outcome = containers.post(id, "/init", body, timeout_ms=60_000, max_reply_bytes=MIB)
    assert isinstance(outcome, Replied) and outcome.status == 200, outcome
    return log


def run(
    containers: Containers, value: object = None, *, timeout_ms: int = 60_000, max_reply_bytes: int = MIB
) -> Outcome:
    body = json.dumps({"value": value or {}}).encode()
    return containers.post(C1, "/run", body, timeout_ms=timeout_ms, max_reply_bytes=max_reply_bytes)


def transform(containers: Containers, code: str, *, plan: object = None) -> Outcome:
    value = {"name": "g", "main": "main", "binary": False, "code": code, "env": OWNER}
    body = json.dumps({"value": value, "plan": plan, "mark": MARK}).encode()
    return containers.transform(C1, body, timeout_ms=60_000, max_reply_bytes=MIB)


def status(outcome: Outcome) -> int:
    assert isinstance(outcome, Replied), outcome
    return outcome.status


def test_each_run_answers_and_has_its_own_log(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    log = init(containers, SPEAKING)
    for n, heard in (
        (1, {"stdout: imported", "stdout: out 1", "stderr: err 1"}),
        (2, {"stdout: out 2", "stderr: err 2"}),
    ):
        if n > 1:
            log = containers.begin_log(C1, limit_bytes=MIB)
        outcome = run(containers, {"n": n})
        assert isinstance(outcome, Replied)
        assert (outcome.status, json.loads(outcome.body), outcome.length) == (200, {"n": n}, len(outcome.body))
        read = log.collect(timeout_ms=5000)
        assert read.is_complete
        assert {f"{line.stream}: {line.text}" for line in read.lines} == heard


def test_an_exception_is_an_answer_with_its_traceback_in_the_log(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    log = init(containers, RAISING)
    outcome = run(containers)
    assert isinstance(outcome, Replied)
    assert (outcome.status, json.loads(outcome.body)) == (200, {"error": "division by zero"})
    lines = log.collect(timeout_ms=5000).lines
    assert any("ZeroDivisionError" in line.text and line.stream == "stderr" for line in lines)


def test_a_long_answer_is_cut_and_its_length_told(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    init(containers, SPEAKING)
    outcome = run(containers, {"n": "x" * 5000}, max_reply_bytes=100)
    assert isinstance(outcome, Replied)
    assert len(outcome.body) == 101
    assert outcome.length > 5000


def test_a_run_that_does_not_end_can_be_left_and_its_container_removed(maker: Maker) -> None:
    containers = maker.containers
    ended = start(containers)
    log = init(containers, MEETING)
    with socket.create_server((maker.host, 0)) as listener:
        host, port = listener.getsockname()
        assert run(containers, {"host": host, "port": port}, timeout_ms=200) == TimedOut(200)
        assert containers.remove(C1) is None
        assert ended.get(timeout=5) == C1
        assert not log.collect(timeout_ms=5000).is_complete


def test_a_container_that_dies_breaks_the_connection_and_is_reported_once(maker: Maker) -> None:
    containers = maker.containers
    ended = start(containers)
    init(containers, SPEAKING)
    maker.kill(C1)
    assert ended.get(timeout=5) == C1
    with pytest.raises(ContainerError):
        run(containers, {"n": 1})
    assert containers.remove(C1) == Ending(-signal.SIGKILL)
    assert ended.empty()


def test_a_container_that_dies_in_a_run_gives_no_answer(maker: Maker) -> None:
    containers = maker.containers
    ended = start(containers)
    init(containers, MEETING)
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    with socket.create_server((maker.host, 0)) as listener:
        host, port = listener.getsockname()
        threading.Thread(target=lambda: outcomes.put(run(containers, {"host": host, "port": port}))).start()
        meeting, _ = listener.accept()
        with meeting:
            maker.kill(C1)
            assert outcomes.get(timeout=5) == Disconnected()
            assert ended.get_nowait() == C1


def test_a_removed_container_is_gone_and_may_be_removed_again(maker: Maker) -> None:
    containers = maker.containers
    ended = start(containers)
    assert containers.remove(C1) is None
    assert containers.remove(C1) is None
    assert ended.get(timeout=5) == C1
    assert ended.empty()
    with pytest.raises(ContainerError):
        run(containers)
    with pytest.raises(ContainerError):
        containers.begin_log(C1, limit_bytes=0)


def test_a_container_that_was_asleep_is_as_it_was_and_its_log_too(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    log = init(containers, SPEAKING)
    heard = []
    for n in range(3):
        if n:
            containers.pause(C1)
            containers.resume(C1)
            log = containers.begin_log(C1, limit_bytes=MIB)
        outcome = run(containers, {"n": n})
        assert isinstance(outcome, Replied) and outcome.status == 200
        read = log.collect(timeout_ms=5000)
        assert read.is_complete
        heard.append(sorted(line.text for line in read.lines))
    assert heard == [["err 0", "imported", "out 0"], ["err 1", "out 1"], ["err 2", "out 2"]]


def test_a_container_that_sleeps_can_be_removed(maker: Maker) -> None:
    ended = start(maker.containers)
    maker.containers.pause(C1)
    assert maker.containers.remove(C1) is None
    assert ended.get(timeout=5) == C1


def test_what_is_not_there_neither_sleeps_nor_wakes(maker: Maker) -> None:
    with pytest.raises(ContainerError):
        maker.containers.pause(C1)
    with pytest.raises(ContainerError):
        maker.containers.resume(C1)


def test_containers_do_not_share_their_functions(maker: Maker) -> None:
    containers = maker.containers
    start(containers, C1)
    start(containers, C2)
    init(containers, SPEAKING, C1)
    init(containers, RAISING, C2)
    outcome = run(containers, {"n": 1})
    assert isinstance(outcome, Replied)
    assert json.loads(outcome.body) == {"n": 1}


def test_closing_removes_whatever_is_left_and_starts_no_more(maker: Maker) -> None:
    ended = start(maker.containers)
    maker.containers.close()
    assert ended.get(timeout=5) == C1
    with pytest.raises(ContainerError, match="its maker is closed"):
        start(maker.containers)


def test_a_container_becomes_another_function_without_a_plan(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    init(containers, SPEAKING)
    run(containers, {"n": 1})
    log = containers.begin_log(C1, limit_bytes=MIB, mark=MARK)
    assert status(transform(containers, DOUBLING)) == 200
    outcome = run(containers, {"n": 2})
    assert isinstance(outcome, Replied) and json.loads(outcome.body) == {"n": 4}
    read = log.collect(timeout_ms=5000)
    assert read.is_complete
    assert sorted(f"{line.stream}: {line.text}" for line in read.lines) == ["stdout: doubled 2", "stdout: loaded"]


def test_nothing_that_the_old_function_writes_is_in_the_new_ones_log(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    log = init(containers, SPEAKING)
    run(containers, {"n": "old"})
    for _ in range(3):  # lines that nobody collects: they are the old function's when the new one comes
        run(containers, {"n": "old"})
    log = containers.begin_log(C1, limit_bytes=MIB, mark=MARK)
    assert status(transform(containers, SPEAKING)) == 200
    run(containers, {"n": "new"})
    read = log.collect(timeout_ms=5000)
    assert read.is_complete
    assert sorted(line.text for line in read.lines) == ["err new", "imported", "out new"]


def test_a_transformed_container_sleeps_wakes_and_becomes_another_one_again(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    init(containers, SPEAKING)
    for code, result in ((DOUBLING, {"n": 2}), (SPEAKING, {"n": 1}), (DOUBLING, {"n": 2})):
        containers.pause(C1)
        containers.resume(C1)
        assert status(transform(containers, code)) == 200
        outcome = run(containers, {"n": 1})
        assert isinstance(outcome, Replied) and json.loads(outcome.body) == result


def test_a_container_that_cannot_follow_a_plan_is_untouched(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    log = init(containers, SPEAKING)
    for plan in ({"from": "what it never was"}, {}, [], 7):
        assert status(transform(containers, RAISING, plan=plan)) == UNTOUCHED
    outcome = run(containers, {"n": 1})
    assert isinstance(outcome, Replied) and json.loads(outcome.body) == {"n": 1}
    read = log.collect(timeout_ms=5000)
    assert read.is_complete
    assert sorted(line.text for line in read.lines) == ["err 1", "imported", "out 1"]


def test_a_container_without_a_function_is_untouched(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    assert status(transform(containers, DOUBLING)) == UNTOUCHED
    init(containers, SPEAKING)
    outcome = run(containers, {"n": 1})
    assert isinstance(outcome, Replied) and json.loads(outcome.body) == {"n": 1}


def test_code_that_cannot_be_loaded_spoils_a_container(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    init(containers, SPEAKING)
    log = containers.begin_log(C1, limit_bytes=MIB, mark=MARK)
    assert status(transform(containers, "import what_nobody_has")) == 502
    assert any("what_nobody_has" in line.text for line in log.collect(timeout_ms=5000).lines)
    assert status(run(containers, {"n": 1})) == 500


def test_what_is_not_there_becomes_nothing_else(maker: Maker) -> None:
    with pytest.raises(ContainerError):
        maker.containers.transform(C1, b"{}", timeout_ms=1000, max_reply_bytes=MIB)
