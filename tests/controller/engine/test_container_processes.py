"""What only containers made of processes can do wrong."""

from __future__ import annotations

import os
import queue
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import container_processes
import pytest

from instar_controller.clients.process import ProcessContainers
from instar_controller.errors import ContainerError
from instar_controller.policies.snapshot import ContainerId

pytestmark = pytest.mark.system

C1 = ContainerId("c1")
WAIT_S = 60.0  # for anything that is sure to happen


def start(containers: ProcessContainers) -> None:
    containers.start(C1, kind="python:3", memory_mb=256, key=None, on_exit=lambda _: None)


def test_a_container_that_cannot_boot_says_why(tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "flask.py").write_text("raise ImportError('no flask today')\n")
    containers = ProcessContainers(tmp_path / "work", {**os.environ, "PYTHONPATH": str(tmp_path / "broken")})
    # It may have ended before it is asked.
    why = r"container c1 did not come up: (it ended|no connection .* refused); it wrote: .*no flask today"
    with pytest.raises(ContainerError, match=why):
        start(containers)
    assert list((tmp_path / "work").iterdir()) == []


def test_a_boot_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    containers = ProcessContainers(tmp_path, os.environ, start_limit_s=0.05)
    with pytest.raises(ContainerError, match=r"no answer within 0\.05 s"):
        start(containers)
    assert container_processes.below(tmp_path) == []


def test_a_container_that_is_removed_while_it_boots_does_not_come_up(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    (tmp_path / "flask.py").write_text(f"open({str(gate)!r}).read()\n")
    containers = ProcessContainers(tmp_path / "work", {**os.environ, "PYTHONPATH": str(tmp_path)})
    outcome: queue.SimpleQueue[object] = queue.SimpleQueue()

    def boot() -> None:
        try:
            start(containers)
        except ContainerError as error:
            outcome.put(error)
        else:
            outcome.put("it came up")

    booting = threading.Thread(target=boot)
    booting.start()
    with gate.open("w"):  # opens when the boot has come so far, and keeps it there
        containers.remove(C1)
    assert isinstance(outcome.get(timeout=WAIT_S), ContainerError)
    booting.join()
    assert container_processes.below(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error_of_the_container(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    containers = ProcessContainers(tmp_path / "file" / "below", os.environ)
    with pytest.raises(ContainerError, match=r"cannot be started: .*Not a directory"):
        start(containers)


def test_a_container_that_ignores_its_end_is_killed(tmp_path: Path) -> None:
    containers = ProcessContainers(tmp_path, os.environ, grace_s=0.2)
    start(containers)
    os.kill(container_processes.leader(tmp_path), signal.SIGSTOP)  # it hears nothing any more
    containers.remove(C1)
    wait_until_none_is_left(tmp_path)


def test_containers_end_with_the_process_that_made_them(tmp_path: Path) -> None:
    program = f"""
import os, sys
from pathlib import Path
from instar_controller.clients.process import ProcessContainers
containers = ProcessContainers(Path({str(tmp_path)!r}), os.environ)
containers.start("c1", kind="python:3", memory_mb=256, key=None, on_exit=lambda _: None)
print("up", flush=True)
sys.stdin.read()
"""
    maker = subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with maker:
        assert maker.stdout is not None
        assert maker.stdout.readline() == "up\n"
        leader = os.pidfd_open(container_processes.leader(tmp_path))
        maker.kill()
    poll = select.poll()
    poll.register(leader, select.POLLIN)
    assert poll.poll(WAIT_S * 1000), f"the container is still there after {WAIT_S} s"
    os.close(leader)
    wait_until_none_is_left(tmp_path)


def wait_until_none_is_left(folder: Path) -> None:
    """What was killed may take a moment to end."""
    deadline_s = time.monotonic() + WAIT_S
    while left := container_processes.below(folder):
        assert time.monotonic() < deadline_s, f"{left} are still there after {WAIT_S} s"
        time.sleep(0.01)
