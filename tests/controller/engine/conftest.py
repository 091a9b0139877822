"""Containers of all makers behind one fixture, engines and nodes that close when their test ends, and a source."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import container_processes
import pytest
from deploy.image.engine import Engine as DockerEngine
from docker_rig import DockerRig
from engines import Engine
from makers import WAIT_S, Maker
from nodes import Node, put
from parcels import Parcel
from tests.runtime.source import Source, serving

from instar_controller.clients.process import ProcessContainers
from instar_controller.clients.threads import ThreadContainers
from instar_controller.engines.invoker import EngineSettings
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.policies.estimates import Estimate, nothing_known
from instar_controller.policies.observations import Observation


@pytest.fixture(
    params=[
        "threads",
        pytest.param("processes", marks=pytest.mark.system),
        # The first one makes the image, which takes minutes: they do not count.
        pytest.param("docker", marks=(pytest.mark.system, pytest.mark.timeout(func_only=True))),
    ]
)
def maker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Maker]:
    if request.param == "threads":
        threads = ThreadContainers({"for_ever": threading.Event().wait})
        yield Maker(threads, threads.kill)
        threads.close()
        return
    if request.param == "docker":
        rig: DockerRig = request.getfixturevalue("docker_rig")
        made = rig.make(end_limit_s=WAIT_S)
        made.prepare()
        yield Maker(made, rig.kill, rig.gateway)
        return
    processes = ProcessContainers(tmp_path, os.environ, grace_s=WAIT_S)
    yield Maker(processes, lambda id: os.kill(container_processes.leader(tmp_path / id), signal.SIGKILL))
    processes.close()
    assert container_processes.below(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def docker_rig(docker_engine: DockerEngine, action_image: str) -> Iterator[DockerRig]:
    """Makers of Docker containers; all that they make goes with the test."""
    rig = DockerRig(docker_engine.host, docker_engine.client, action_image)
    yield rig
    rig.close()


@pytest.fixture
def make_engine() -> Iterator[Callable[..., Engine]]:
    """Makes engines; each takes `PoolSettings`, `EngineSettings`, an `Estimate`, and who is told what was seen."""
    made: list[Engine] = []

    def make(
        pool: PoolSettings | None = None,
        settings: EngineSettings | None = None,
        estimate: Estimate = nothing_known,
        on_seen: Callable[[Observation], None] = lambda _: None,
    ) -> Engine:
        usual = EngineSettings(log_wait_ms=200)
        made.append(Engine(pool or PoolSettings(), settings or usual, estimate, on_seen))
        return made[-1]

    yield make
    for engine in made:
        engine.close()


@pytest.fixture
def engine(make_engine: Callable[..., Engine]) -> Engine:
    """An engine with the usual settings and no stem cells."""
    return make_engine()


@pytest.fixture
def source(tmp_path: Path) -> Iterator[Source]:
    (tmp_path / "source").mkdir()
    with serving(tmp_path / "source") as running:
        yield running


@pytest.fixture
def make_node(tmp_path: Path) -> Iterator[Callable[..., Node]]:
    """Makes nodes on one store, one after the other: each closes the one before."""
    made: list[Node] = []

    def make(environment: dict[str, str] | None = None) -> Node:
        for earlier in made:
            earlier.close()
        made.append(Node(tmp_path / "store", environment or {}))
        return made[-1]

    yield make
    for node in made:
        node.close()


@pytest.fixture
def sent(source: Source) -> Parcel:
    """Weights at the source."""
    return put(source, "net.safetensors")
