"""What every maker of containers promises of transformations: one suite over threads, processes and Docker."""

from __future__ import annotations

import json
import queue
import socket
import threading

import pytest
from makers import C1, MEETING, MIB, OWNER, RAISING, SPEAKING, WAIT_S, Maker, init, run, start

from instar_controller.errors import ContainerError
from instar_controller.ports import UNTOUCHED, Containers
from instar_controller.whisk.response import Disconnected, Outcome, Replied

MARK = "the mark"
DOUBLING = "print('loaded')\ndef main(args):\n    print('doubled', args['n'])\n    return {'n': args['n'] * 2}\n"
PRYING = """
import os
def main(args):
    return {"tokens": [name for name in os.environ if "TOKEN" in name]}
"""


def transform(containers: Containers, code: str, *, plan: object = None) -> Outcome:
    value = {"name": "g", "main": "main", "binary": False, "code": code, "env": OWNER}
    body = json.dumps({"value": value, "plan": plan, "mark": MARK}).encode()
    return containers.transform(C1, body, timeout_ms=60_000, max_reply_bytes=MIB)


def status(outcome: Outcome) -> int:
    assert isinstance(outcome, Replied), outcome
    return outcome.status


def test_a_container_becomes_another_function_without_a_plan(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    init(containers, SPEAKING)
    run(containers, {"n": 1})
    log = containers.begin_log(C1, limit_bytes=MIB, mark=MARK)
    assert status(transform(containers, DOUBLING)) == 200
    outcome = run(containers, {"n": 2})
    assert isinstance(outcome, Replied) and json.loads(outcome.body) == {"n": 4}
    read = log.collect(timeout_ms=60_000)
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
    read = log.collect(timeout_ms=60_000)
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
    read = log.collect(timeout_ms=60_000)
    assert read.is_complete
    assert sorted(line.text for line in read.lines) == ["err 1", "imported", "out 1"]


def test_a_container_that_dies_while_it_is_transformed_gives_no_answer(maker: Maker) -> None:
    containers = maker.containers
    ended = start(containers)
    init(containers, SPEAKING)
    outcomes: queue.SimpleQueue[Outcome] = queue.SimpleQueue()
    with socket.create_server((maker.host, 0)) as listener:
        host, port = listener.getsockname()
        code = f"{MEETING}\nmain({{'host': {host!r}, 'port': {port}}})\n"
        threading.Thread(target=lambda: outcomes.put(transform(containers, code))).start()
        meeting, _ = listener.accept()
        with meeting:
            maker.kill(C1)
            assert outcomes.get(timeout=WAIT_S) == Disconnected()
            assert ended.get_nowait() == C1


def test_no_function_knows_the_token_of_its_container(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    init(containers, PRYING)
    outcome = run(containers)
    assert isinstance(outcome, Replied) and json.loads(outcome.body) == {"tokens": []}
    assert status(transform(containers, PRYING)) == 200
    outcome = run(containers)
    assert isinstance(outcome, Replied) and json.loads(outcome.body) == {"tokens": []}


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
    assert any("what_nobody_has" in line.text for line in log.collect(timeout_ms=60_000).lines)
    assert status(run(containers, {"n": 1})) == 500


def test_what_is_not_there_becomes_nothing_else(maker: Maker) -> None:
    with pytest.raises(ContainerError):
        maker.containers.transform(C1, b"{}", timeout_ms=1000, max_reply_bytes=MIB)
