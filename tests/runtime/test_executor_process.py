"""The executor as a process: what a hostile or unlucky worker can do to it, and what its death costs."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

import instar
from tests.runtime.conftest import Start
from tests.runtime.containers import Container, await_end, zipped_folder
from tests.runtime.modules import Pair

pytestmark = pytest.mark.system

HANDLER = """
import os, socket
import torch
import instar
from instar.executor import client

MODEL = instar.model()

def double(n):
    return MODEL(torch.tensor([n]), torch.tensor([True]))[0].tolist()

def session():
    return client._connection._session

def main(args):
    try:
        return {'value': eval(args['do'], globals())}
    except Exception as error:
        return {'error': {'type': type(error).__name__, 'text': str(error)}}
"""


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    package = tmp_path_factory.mktemp("packed") / "pair"
    example = {"ids": torch.arange(4), "mask": torch.ones(4, dtype=torch.bool)}
    instar.pack(Pair(), example, package, dims={"ids": {0: "n"}, "mask": {0: "n"}}, bounds={"n": (1, 10**6)})
    return zipped_folder(package, "pair", {"__main__.py": HANDLER})


@pytest.fixture
def calling(container: Container, archive: bytes) -> Container:
    assert container.init(archive).status == 200
    return container


def evaluate(container: Container, expression: str) -> Any:
    answer = container.run({"do": expression}).json
    return answer["value"] if "value" in answer else answer["error"]


def test_forged_frames_cost_the_worker_nothing_but_an_error(calling: Container) -> None:
    executor = calling.processes()["executor"]
    for frame in ("b'noise'", "b'[1,\"grow\",-1]'", "b' ' * 150_000", "b'[' * 100_000"):
        assert "ProtocolError" in evaluate(calling, f"session().send({frame}) and session().recv(9999).decode()")
        assert evaluate(calling, "double(21)") == [42]
    assert calling.processes()["executor"] == executor


def test_a_worker_that_asks_and_does_not_read_loses_its_session(calling: Container) -> None:
    executor = calling.processes()["executor"]
    flood = '[session().send(b\'[1,"describe","pair"]\') for _ in range(100_000)]'
    assert evaluate(calling, flood)["type"] in ("BrokenPipeError", "ConnectionResetError")
    assert calling.processes()["executor"] == executor  # and it is idle, ready for another worker


def test_descriptors_that_a_worker_sends_are_dropped(calling: Container) -> None:
    executor = calling.processes()["executor"]
    before = len(os.listdir(f"/proc/{executor}/fd"))
    send = "[socket.send_fds(session(), [b'noise'], [0, 1, 2]) and session().recv(9999) for _ in range(50)] and None"
    assert evaluate(calling, send) is None
    assert evaluate(calling, "double(1)") == [2]
    assert len(os.listdir(f"/proc/{executor}/fd")) <= before + 1


def test_a_dead_executor_costs_one_clear_error_and_is_replaced(calling: Container) -> None:
    for n in range(3):
        executor = calling.processes()["executor"]
        os.kill(executor, signal.SIGKILL)
        await_end(executor)
        error = evaluate(calling, "double(1)")
        assert error["type"] == "ProcessError" and "the next call finds a new one" in error["text"]
        assert evaluate(calling, f"double({n})") == [2 * n]


def test_an_executor_killed_in_the_middle_of_a_call_is_an_error_of_that_call(calling: Container) -> None:
    executor = calling.processes()["executor"]
    # Stopped, it cannot answer; the kill then comes in the middle of the call for certain.
    kill = (
        f"[os.kill({executor}, 19), __import__('threading').Timer(0.2, os.kill, ({executor}, 9)).start(), double(1)]"
    )
    assert evaluate(calling, kill)["type"] == "ProcessError"
    assert evaluate(calling, "double(3)") == [6]


def test_an_executor_that_dies_again_and_again_ends_the_container(calling: Container) -> None:
    pids = list(calling.processes().values())
    for _ in range(3):
        executor = calling.processes()["executor"]
        os.kill(executor, signal.SIGKILL)
        await_end(executor)
        assert evaluate(calling, "double(1)")["type"] == "ProcessError"
        assert evaluate(calling, "double(1)") == [2]
    os.kill(calling.processes()["executor"], signal.SIGKILL)
    assert calling.await_end() == 1
    for pid in pids:
        await_end(pid)
    assert "the executor died 4 times" in calling.printed()[1]


def test_the_executor_and_the_weights_outlive_a_failed_init(container: Container, archive: bytes) -> None:
    assert container.init("raise ValueError\n").status == 502
    executor = container.processes()["executor"]
    assert container.init(archive).status == 200
    assert evaluate(container, "double(5)") == [10]
    assert container.processes()["executor"] == executor


def test_the_proxy_imports_no_torch_and_no_user_code_runs_outside_the_worker(calling: Container) -> None:
    roles = calling.processes()
    pid, parent = evaluate(calling, "[os.getpid(), os.getppid()]")
    assert (pid, parent) == (roles["worker"], roles["zygote"])
    for role, has_torch in (("master", False), ("proxy", False), ("zygote", True), ("executor", True)):
        assert ("libtorch" in Path(f"/proc/{roles[role]}/maps").read_text()) is has_torch, role


def test_the_zygote_has_no_threads_of_torch(calling: Container) -> None:
    assert evaluate(calling, "double(5)") == [10]
    names = [path.read_text().strip() for path in Path(f"/proc/{calling.processes()['zygote']}/task").glob("*/comm")]
    # numpy's OpenBLAS starts its threads when it is loaded, and restarts them after a fork by itself.
    assert len(names) <= 1 + (os.cpu_count() or 1)


def test_the_store_is_where_it_was_asked_to_be(start: Start, archive: bytes) -> None:
    container = start()
    assert container.init(archive).status == 200
    assert list((container.root / "store").iterdir())
