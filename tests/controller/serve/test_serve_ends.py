"""However `instar serve` ends, nothing that it started is left."""

from __future__ import annotations

import os
import select
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import container_processes
import pytest
from servers import MEETING, WAIT_S, Server

pytestmark = pytest.mark.system

DETACHING = """
import subprocess, sys
def main(args):
    subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"],
        start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )
    return {}
"""


def wait_for_end(pids: list[int]) -> None:
    for pid in pids:
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        assert poll.poll(WAIT_S * 1000), f"process {pid} is still there"
        os.close(descriptor)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_ends_everything(start: Callable[..., Server], number: int) -> None:
    server = start()
    server.event("prewarmed")
    server.create("detaching", DETACHING)
    assert server.invoke("detaching")[0] == 200
    assert container_processes.below(server.containers) != []
    assert server.end(number) == (0, "")  # soon, or there is a word of what had to be waited for
    assert container_processes.below(server.containers) == []
    assert list(server.containers.iterdir()) == []


def test_a_call_that_runs_is_answered_before_the_end(start: Callable[..., Server]) -> None:
    server = start("--prewarm", "none")
    server.create("meet", MEETING)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        call = server.invoke_aside("meet", {"port": listener.getsockname()[1]})
        meeting, _ = listener.accept()
        server.process.send_signal(signal.SIGINT)
        meeting.close()
        assert call.result(WAIT_S)[1]["response"]["result"] == {"met": True}
    assert server.end(signal.SIGINT)[0] == 0


def test_a_call_that_does_not_end_is_given_up_with_an_answer_and_a_record(start: Callable[..., Server]) -> None:
    server = start("--prewarm", "none")
    server.create("meet", MEETING)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        call = server.invoke_aside("meet", {"port": listener.getsockname()[1]})
        meeting, _ = listener.accept()
        with meeting:
            assert server.end(signal.SIGTERM)[0] == 0
    status, activation = call.result(WAIT_S)
    assert (status, activation["response"]["status"]) == (502, "action developer error")
    assert start().record(activation["activationId"])["response"] == activation["response"]


def test_a_killed_server_leaves_no_process_and_loses_no_document(start: Callable[..., Server]) -> None:
    server = start("--prewarm", "python:3:256:1")
    server.event("prewarmed")
    server.create("echo")
    _, activation = server.invoke("echo", {"n": 1})
    server.record(activation["activationId"])
    left = container_processes.below(server.containers)
    assert left
    server.end(signal.SIGKILL)
    wait_for_end(left)

    (server.containers / "c77").mkdir(exist_ok=True)  # as a container leaves it that was killed too
    again = start("--prewarm", "none")
    assert (again.auth, list(again.containers.glob("*"))) == (server.auth, [])
    assert again.record(activation["activationId"])["response"]["result"] == {"n": 1}
    assert again.start_of("echo") == "cold"


def test_a_restart_keeps_key_actions_and_records(start: Callable[..., Server]) -> None:
    server = start("--prewarm", "none")
    server.create("echo")
    _, activation = server.invoke("echo", {"n": 1})
    server.end(signal.SIGINT)
    again = start("--prewarm", "none")
    assert again.auth == server.auth
    assert again.request("GET", "/actions/echo?code=false")[0] == 200
    assert again.record(activation["activationId"])["response"]["result"] == {"n": 1}


def test_the_key_is_in_a_file_that_only_its_owner_reads(start: Callable[..., Server]) -> None:
    server = start("--prewarm", "none")
    key: Path = server.state / "key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.read_text() == server.auth + "\n"
