"""`instar serve --containers docker`: the same server, whose containers are a Docker engine's."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from deep import Observed, create, is_right, told
from deploy.image.engine import Engine
from docker.models.containers import Container
from docker_rig import POOL_MB, DockerRig
from servers import MEETING, WAIT_S, Server, annotations, launch
from tests.runtime.modules import Deep

from instar.weights.manifest import Weights
from instar_controller.clients.docker import freezer
from instar_controller.clients.docker.arguments import owner_of

pytestmark = pytest.mark.system

KINDS = ("pytorch", "python")
SPEAKING = """
import sys
print("imported")
def main(args):
    print("out", args["n"])
    print("err", args["n"], file=sys.stderr)
    return {"n": args["n"]}
"""
GREEDY = """
def main(args):
    block = []
    while True:
        block.append(bytearray(b"x") * (1 << 20))
"""
SPYING = """
import os
def main(args):
    store = os.environ["INSTAR_STORE"]
    try:
        return {"store": store, "seen": os.listdir(store)}
    except OSError as error:
        return {"store": store, "seen": type(error).__name__}
"""
EXITING = "import os\ndef main(args):\n    os._exit(3)\n"


class DockerServer(Server):
    """A server whose kinds have the image under test."""

    def __init__(self, rig: DockerRig, engine: Engine, state: Path, *options: str) -> None:
        self._rig = rig
        state.mkdir(exist_ok=True)
        families = {
            family: [{"kind": f"{family}:3", "default": True, "image": {"name": rig.image}}] for family in KINDS
        }
        manifest = state.with_suffix(".json")
        manifest.write_text(json.dumps({"runtimes": families}))
        options = ("--containers", "docker", "--manifest", str(manifest), "--memory", str(POOL_MB), *options)
        super().__init__(state, *options, environ=engine.environ)

    def made(self) -> list[Container]:
        """Its containers, whatever they do."""
        return self._rig.of(owner_of(self.state))

    def removal(self, container: Container | None = None, activation: str = "") -> dict[str, Any]:
        """The news that this container has gone, or the one that had this activation."""
        while True:
            event = self.event("removed")
            if f"_{event['container']}_" in (container.name if container else "") or (
                activation and activation in event["detail"]
            ):
                return event

    def only(self) -> Container:
        (only,) = self.made()
        return only


def fall_asleep(container: Container) -> None:
    """Wait until no process of it runs any more."""
    found = freezer.find(container.attrs["State"]["Pid"], container.id)
    assert found is not None, "these tests run as root, beside their engine"
    deadline_s = time.monotonic() + WAIT_S
    while found.is_frozen not in found.state.read_text():
        assert time.monotonic() < deadline_s, f"{container.name} is awake"
        time.sleep(0.01)


@pytest.fixture(scope="session")
def rig(docker_engine: Engine, action_image: str) -> Iterator[DockerRig]:
    rig = DockerRig(docker_engine.host, docker_engine.client, action_image)
    yield rig
    rig.close()


@pytest.fixture
def start_docker(rig: DockerRig, docker_engine: Engine, tmp_path: Path) -> Iterator[Callable[..., DockerServer]]:
    """Starts servers; by default all on one state directory, one after the other."""
    started: list[DockerServer] = []

    def make(*options: str, state: Path | None = None) -> DockerServer:
        started.append(DockerServer(rig, docker_engine, state or tmp_path / "state", *options))
        return started[-1]

    yield make
    for server in started:
        if server.process.poll() is None:
            server.end(signal.SIGINT)
    left = {each.name for server in started for each in server.made()}
    for server in started:
        for each in server.made():
            each.remove(force=True)
    assert left == set()


@pytest.fixture(scope="module")
def docker_server(
    rig: DockerRig, docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[DockerServer]:
    """One server for all tests that need no options."""
    running = DockerServer(rig, docker_engine, tmp_path_factory.mktemp("state"), "--prewarm", "none")
    yield running
    running.end(signal.SIGINT)
    assert running.made() == []


def texts(record: dict[str, object]) -> set[str]:
    logs = record["logs"]
    assert isinstance(logs, list)
    return {line.split(" ", 1)[1].strip() for line in logs}


def test_a_call_is_cold_then_warm_and_each_has_its_own_log(docker_server: DockerServer) -> None:
    docker_server.create("speak", SPEAKING)
    seen = []
    for n in range(2):
        status, answer = docker_server.invoke("speak", {"n": n})
        assert (status, answer["response"]["result"]) == (200, {"n": n})
        start = annotations(answer)["instar"]["start"]
        seen.append((start, texts(docker_server.record(answer["activationId"]))))
    assert seen == [
        ("cold", {"stdout: imported", "stdout: out 0", "stderr: err 0"}),
        ("warm", {"stdout: out 1", "stderr: err 1"}),
    ]


def test_a_function_that_takes_too_much_memory_is_told_so(docker_server: DockerServer) -> None:
    docker_server.create("greedy", GREEDY, memory=256)
    status, answer = docker_server.invoke("greedy")
    assert (status, answer["response"]["status"]) == (502, "action developer error")
    assert answer["response"]["result"] == {"error": "The action exhausted its memory and was aborted."}
    assert docker_server.removal(activation=answer["activationId"])["reason"] == "out of memory"


def test_a_function_that_exits_is_not_told_that_its_memory_was_the_reason(docker_server: DockerServer) -> None:
    docker_server.create("exiting", EXITING)
    status, answer = docker_server.invoke("exiting")
    assert (status, answer["response"]["result"]) == (502, {"error": "command exited"})
    assert docker_server.removal(activation=answer["activationId"])["reason"] == "run failed"


def test_a_function_beyond_its_time_limit_is_ended_and_its_log_kept(docker_server: DockerServer) -> None:
    code = "def main(args):\n    print('begun', flush=True)\n    while True:\n        pass\n"
    docker_server.create("endless", code, timeout=3000)  # also for initialising it, which is to be done in it
    status, answer = docker_server.invoke("endless")
    assert (status, answer["response"]["result"]["error"]) == (
        502,
        "The action exceeded its time limits of 3000 milliseconds.",
    )
    assert docker_server.removal(activation=answer["activationId"])["reason"] == "timed out"
    assert "stdout: begun" in texts(docker_server.record(answer["activationId"]))


def test_an_idle_container_sleeps_and_the_next_call_wakes_it(start_docker: Callable[..., DockerServer]) -> None:
    server = start_docker("--prewarm", "none", "--pause-grace", "0")
    server.create("speak", SPEAKING)
    for n in range(3):
        status, answer = server.invoke("speak", {"n": n})
        assert (status, annotations(answer)["instar"]["start"]) == (200, "warm" if n else "cold")
        lines = texts(server.record(answer["activationId"]))
        assert lines == {f"stdout: out {n}", f"stderr: err {n}"} | ({"stdout: imported"} if n == 0 else set())
        fall_asleep(server.only())


def test_a_container_that_does_not_wake_is_replaced_unnoticed(start_docker: Callable[..., DockerServer]) -> None:
    server = start_docker("--prewarm", "none", "--pause-grace", "0")
    server.create("speak", SPEAKING)
    server.invoke("speak", {"n": 0})
    asleep = server.only()
    fall_asleep(asleep)
    asleep.kill()
    status, answer = server.invoke("speak", {"n": 1})
    assert (status, answer["response"]["result"], annotations(answer)["instar"]["start"]) == (200, {"n": 1}, "cold")
    # Whichever is seen first: that the engine tells of its end, that it cannot be woken, or before that its sleep.
    assert server.removal(asleep)["reason"] in {"ended by itself", "resume failed", "pause failed"}


@pytest.mark.parametrize("victim", ["instar-zygote", "instar-proxy"])
def test_a_container_that_loses_a_process_is_replaced(
    docker_server: DockerServer, victim: str, rig: DockerRig
) -> None:
    name = f"meet-{victim}"
    docker_server.create(name, MEETING)
    with socket.create_server((rig.gateway, 0)) as listener:
        host, port = listener.getsockname()
        call = docker_server.invoke_aside(name, {"host": host, "port": port})
        meeting, _ = listener.accept()
        with meeting:
            (container,) = [each for each in docker_server.made() if victim.replace("-", "") in each.name]
            os.kill(process_of(container, victim), signal.SIGKILL)
            status, answer = call.result(WAIT_S)
    assert (status, answer["response"]["status"]) == (502, "action developer error")
    # Whichever is seen first: its end, or an answer about a function that has lost what held it up.
    assert docker_server.removal(container)["reason"] in {"ended by itself", "run failed", "connection broken"}
    with socket.create_server((rig.gateway, 0)) as listener:
        host, port = listener.getsockname()
        call = docker_server.invoke_aside(name, {"host": host, "port": port})
        meeting, _ = listener.accept()
        meeting.close()
        status, answer = call.result(WAIT_S)
    assert (status, annotations(answer)["instar"]["start"]) == (200, "cold")


def test_a_stem_cell_that_dies_is_replaced(start_docker: Callable[..., DockerServer]) -> None:
    server = start_docker("--prewarm", "python:3:256:1")
    server.event("prewarmed")
    cell = server.only()
    os.kill(process_of(cell, "instar-zygote"), signal.SIGKILL)
    assert server.removal(cell)["reason"] == "ended by itself"
    server.event("prewarmed")
    assert server.only().name != cell.name
    server.create("echo")
    assert server.start_of("echo") == "prewarmed"


def test_a_killed_server_leaves_containers_that_the_next_one_removes(
    start_docker: Callable[..., DockerServer], tmp_path: Path
) -> None:
    other = start_docker("--prewarm", "python:3:256:1", state=tmp_path / "other")
    other.event("prewarmed")
    server = start_docker("--prewarm", "python:3:256:1")
    server.event("prewarmed")
    left = server.only()
    left.pause()
    server.end(signal.SIGKILL)
    assert [each.name for each in server.made()] == [left.name]
    again = start_docker("--prewarm", "none")
    assert again.made() == []
    again.create("echo")
    assert again.start_of("echo") == "cold"
    assert other.only().status == "running"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_removes_every_container(start_docker: Callable[..., DockerServer], number: int) -> None:
    server = start_docker("--prewarm", "python:3:256:1", "--pause-grace", "0")
    server.event("prewarmed")
    server.create("echo")
    server.invoke("echo")
    assert server.end(number) == (0, "")
    assert server.made() == []


def test_weights_come_through_the_nodes_store_which_containers_only_read(
    start_docker: Callable[..., DockerServer],
    folder: Path,
    net: Deep,
    source: Observed,
    weights: Weights,
    tmp_path: Path,
) -> None:
    """The source is on this machine's loopback, which no container reaches; and all here is private at first."""
    (tmp_path / "store").mkdir(mode=0o700)
    usual = os.umask(0o077)
    try:
        server = start_docker("--prewarm", "none")
    finally:
        os.umask(usual)
    create(server, folder, source)
    answer = server.invoke("deep", {"seed": 1})
    note = told(answer)
    assert is_right(answer[1], net, 1)
    assert source.asked_ms is not None and source.asked_ms < answer[1]["start"]
    assert (note["weights"]["presentBytes"], note["weights"]["fetchedBytes"]) == (0, weights.size)
    assert "weights" not in told(server.invoke("deep", {"seed": 2}))


def test_a_function_sees_nothing_of_the_nodes_store(start_docker: Callable[..., DockerServer]) -> None:
    server = start_docker("--prewarm", "none")
    server.create("spy", SPYING)
    status, answer = server.invoke("spy")
    (mount,) = server.only().attrs["Mounts"]
    assert (mount["Type"], mount["Source"], mount["RW"]) == ("bind", str(server.store), False)
    assert mount["Destination"] == answer["response"]["result"]["store"]
    assert (status, answer["response"]["result"]["seen"]) == (200, "PermissionError")


def test_without_a_store_of_the_nodes_each_container_has_its_own(start_docker: Callable[..., DockerServer]) -> None:
    server = start_docker("--prewarm", "none", "--store", "none")
    server.create("echo")
    assert server.start_of("echo") == "cold"
    assert server.only().attrs["Mounts"] == []


def refusal(*options: str, environ: dict[str, str]) -> str:
    process = launch("--prewarm", "none", "--port", "0", *options, environ=environ)
    out, err = process.communicate(timeout=WAIT_S)
    assert (process.returncode, out) == (1, "")
    return err


def test_an_engine_that_cannot_be_reached_is_one_line(tmp_path: Path) -> None:
    environ = {**os.environ, "DOCKER_HOST": "unix:///no/such/socket"}
    said = refusal("--state", str(tmp_path), "--containers", "docker", environ=environ)
    assert said.startswith("instar serve: no Docker engine answers at unix:///no/such/socket")
    assert said.count("\n") == 1


def test_an_image_that_is_not_there_is_one_line(docker_engine: Engine, tmp_path: Path) -> None:
    manifest = tmp_path / "runtimes.json"
    image = {"prefix": "instar", "name": "no-such-image", "tag": "7"}
    manifest.write_text(json.dumps({"runtimes": {"python": [{"kind": "python:3", "image": image}]}}))
    said = refusal(
        "--state", str(tmp_path), "--containers", "docker", "--manifest", str(manifest), environ=docker_engine.environ
    )
    assert said == (
        "instar serve: the Docker engine has no image instar/no-such-image:7; build it with `make image`\n"
    )


def process_of(container: Container, name: str) -> int:
    """The pid, on this machine, of the container's process of that name. A child has its parent's for a moment."""
    until_s = time.monotonic() + WAIT_S
    while True:
        rows = container.top(ps_args="-eo pid,comm")["Processes"]
        found = [int(pid) for pid, command in rows if command == name]
        if len(found) == 1:
            return found[0]
        assert time.monotonic() < until_s, rows
