"""However a container ends, all of it ends, with whatever the function started."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runtime.conftest import Start
from tests.runtime.containers import Container, await_end

pytestmark = pytest.mark.system

# A function with children: one in the group, one in a session of its own, one whose parent has left it.
CLINGING = """
import os, subprocess
def main(args):
    child = subprocess.Popen(['sleep', '600'])
    detached = subprocess.Popen(['sleep', '600'], start_new_session=True)
    read, write = os.pipe()
    if os.fork() == 0:
        os.setsid()
        pid = os.fork()
        if pid == 0:
            os.execvp('sleep', ['sleep', '600'])
        os.write(write, str(pid).encode())
        os._exit(0)
    os.wait()
    return {'pids': [os.getpid(), child.pid, detached.pid, int(os.read(read, 20))]}
"""


@pytest.fixture
def clinging(container: Container) -> Container:
    assert container.init(CLINGING).status == 200
    return container


def close_lifeline(container: Container) -> None:
    container.let_go()


def killing(role: str) -> Callable[[Container], None]:
    def kill(container: Container) -> None:
        os.kill(container.processes()[role], signal.SIGKILL)

    kill.__name__ = f"kill_{role}"
    return kill


def terminate(container: Container) -> None:
    container.process.terminate()


def interrupt_the_group(container: Container) -> None:
    os.killpg(container.process.pid, signal.SIGINT)  # as Ctrl-C does


def terminate_the_group(container: Container) -> None:
    os.killpg(container.process.pid, signal.SIGTERM)


ENDS = [
    close_lifeline,
    killing("master"),
    killing("proxy"),
    killing("zygote"),
    terminate,
    interrupt_the_group,
    terminate_the_group,
]


@pytest.mark.parametrize("end", ENDS, ids=lambda end: end.__name__)
def test_no_process_is_left(clinging: Container, end: Callable[[Container], None]) -> None:
    pids = clinging.run().json["pids"] + list(clinging.processes().values())
    assert len(set(pids)) == 8  # master, proxy, zygote, executor, worker, and the worker's three
    end(clinging)
    clinging.await_end()
    for pid in pids:
        await_end(pid)
    assert clinging.group() == []


@pytest.mark.parametrize("end", [close_lifeline, terminate], ids=lambda end: end.__name__)
def test_an_orderly_end_is_silent_and_leaves_no_file(clinging: Container, end: Callable[[Container], None]) -> None:
    end(clinging)
    assert clinging.await_end() == 0
    assert clinging.printed() == ("", "")
    assert list(clinging.work.iterdir()) == []


def test_a_container_ends_in_the_middle_of_a_run(container: Container) -> None:
    assert container.init("import time\ndef main(args):\n    while True: pass\n").status == 200
    with pytest.raises(TimeoutError):
        container.run(timeout_s=0.3)
    pids = list(container.processes().values())
    container.process.terminate()
    assert container.await_end() == 0
    for pid in pids:
        await_end(pid)


def test_a_container_ends_before_torch_is_imported(start: Start) -> None:
    container = start()
    close_lifeline(container)
    container.await_end()
    assert container.group() == []


def test_a_port_in_use_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "instar.proxy.serve", "--port", str(port), "--work", str(tmp_path)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr == f"instar-runtime: cannot listen on 127.0.0.1:{port}: Address already in use\n"
    assert list(tmp_path.iterdir()) == []


def test_a_working_directory_that_is_not_there_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "instar.proxy.serve", "--port", "0", "--work", str(tmp_path / "no")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1 and "working directory" in ended.stderr


def test_a_descriptor_that_does_not_listen_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    for number in ("0", "999"):
        command = [sys.executable, "-m", "instar.proxy.serve", "--fd", number, "--work", str(tmp_path)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, stdin=subprocess.DEVNULL)
        assert ended.returncode == 1
        assert ended.stderr.count("\n") == 1 and f"descriptor {number}" in ended.stderr
