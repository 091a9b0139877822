"""What every maker of containers promises: one suite over threads, processes and Docker."""

from __future__ import annotations

import json
import queue
import signal
import socket
import threading

import pytest
from makers import C1, C2, MEETING, MIB, RAISING, SPEAKING, WAIT_S, Maker, init, run, start

from instar_controller.errors import ContainerError
from instar_controller.ports import Ending
from instar_controller.whisk.response import Disconnected, Outcome, Replied, TimedOut


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
        read = log.collect(timeout_ms=60_000)
        assert read.is_complete
        assert {f"{line.stream}: {line.text}" for line in read.lines} == heard


def test_an_exception_is_an_answer_with_its_traceback_in_the_log(maker: Maker) -> None:
    containers = maker.containers
    start(containers)
    log = init(containers, RAISING)
    outcome = run(containers)
    assert isinstance(outcome, Replied)
    assert (outcome.status, json.loads(outcome.body)) == (200, {"error": "division by zero"})
    lines = log.collect(timeout_ms=60_000).lines
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
        assert ended.get(timeout=WAIT_S) == C1
        assert not log.collect(timeout_ms=60_000).is_complete


def test_a_container_that_dies_breaks_the_connection_and_is_reported_once(maker: Maker) -> None:
    containers = maker.containers
    ended = start(containers)
    init(containers, SPEAKING)
    maker.kill(C1)
    assert ended.get(timeout=WAIT_S) == C1
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
            assert outcomes.get(timeout=WAIT_S) == Disconnected()
            assert ended.get_nowait() == C1


def test_a_removed_container_is_gone_and_may_be_removed_again(maker: Maker) -> None:
    containers = maker.containers
    ended = start(containers)
    assert containers.remove(C1) is None
    assert containers.remove(C1) is None
    assert ended.get(timeout=WAIT_S) == C1
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
        read = log.collect(timeout_ms=60_000)
        assert read.is_complete
        heard.append(sorted(line.text for line in read.lines))
    assert heard == [["err 0", "imported", "out 0"], ["err 1", "out 1"], ["err 2", "out 2"]]


def test_a_container_that_sleeps_can_be_removed(maker: Maker) -> None:
    ended = start(maker.containers)
    maker.containers.pause(C1)
    assert maker.containers.remove(C1) is None
    assert ended.get(timeout=WAIT_S) == C1


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
    assert ended.get(timeout=WAIT_S) == C1
    with pytest.raises(ContainerError, match="its maker is closed"):
        start(maker.containers)
