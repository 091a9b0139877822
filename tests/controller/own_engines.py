"""A Docker engine that a test may break: end it, kill it, have it stand still, and start it again.

It is another one than tests share (`tests/image/engine.py`), on a bridge of its own, with one small image.
Every test finds it running and without containers.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
import small_image
from deploy.image.errors import NoEngine
from tests.image import engine as engines
from tests.image.engine import Daemon, Network

NETWORK = Network("instar1", "172.30.232.1/24", "02:49:4e:53:54:53")
MANIFEST = {"runtimes": {"python": [{"kind": "python:3", "default": True, "image": {"name": small_image.NAME}}]}}
WAIT_S = 60.0  # for anything that is sure to happen
STEP_S = 0.05


class OwnEngine:
    """The engine, asked and broken."""

    def __init__(self, daemon: Daemon, folder: Path) -> None:
        self._daemon = daemon
        self._client = daemon.connect().client
        small_image.make(self._client)
        manifest = folder / "runtimes.json"
        manifest.write_text(json.dumps(MANIFEST))
        # Of a program whose containers are this engine's.
        self.environment = {
            "INSTAR_CONTAINERS": "docker",
            "DOCKER_HOST": daemon.host,
            "INSTAR_MANIFEST": str(manifest),
        }

    @property
    def gateway(self) -> str:
        """The address under which containers reach this machine."""
        return self._daemon.network.gateway

    def containers(self) -> set[str]:
        """The ids of all that there are, whatever they do."""
        return {each.id for each in self._client.containers.list(all=True, ignore_removed=True)}

    def kill_containers(self) -> None:
        for each in self._client.containers.list(ignore_removed=True):
            with contextlib.suppress(docker.errors.APIError):  # it has ended meanwhile
                each.kill()

    def wait_until_gone(self, containers: set[str]) -> None:
        deadline_s = time.monotonic() + WAIT_S
        while left := containers & self.containers():
            assert time.monotonic() < deadline_s, f"{left} are still there"
            time.sleep(STEP_S)

    def end(self) -> None:
        """As an operator does; it ends its containers first."""
        self._daemon.send(signal.SIGTERM)
        self._daemon.wait()

    def kill(self) -> None:
        """Its containers live on."""
        self._daemon.kill()

    def stand_still(self) -> None:
        """It keeps its connections, and answers nothing."""
        self._daemon.send(signal.SIGSTOP)

    def go_on(self) -> None:
        self._daemon.send(signal.SIGCONT)

    def start(self) -> None:
        """After it was ended or killed."""
        assert self._daemon.start(), "it started before"

    def mend(self) -> None:
        """Whatever a test has done: it runs, and has no containers."""
        self.go_on()
        if not self._daemon.is_running:
            self.start()
        left = self._client.containers.list(all=True, ignore_removed=True)
        for each in left:
            with contextlib.suppress(docker.errors.APIError):  # somebody else removes it just now
                each.remove(force=True)
        self.wait_until_gone({each.id for each in left})

    def close(self) -> None:
        self._client.close()


@pytest.fixture(scope="module")
def breakable_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnEngine]:
    """One for all tests of a file that break it."""
    try:
        if os.geteuid() != 0:
            raise NoEngine("only root can start an engine")
        with engines.running(NETWORK) as daemon:
            made = OwnEngine(daemon, tmp_path_factory.mktemp("own-engine"))
            yield made
            made.close()
    except NoEngine as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture
def own_docker(breakable_engine: OwnEngine) -> Iterator[OwnEngine]:
    """It runs, and has no containers."""
    yield breakable_engine
    breakable_engine.mend()
