"""Servers that end with their test, and leave nothing behind; a packed model, and a source of its weights."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from container_processes import below
from deep import Observed
from servers import Server
from tests.runtime import arriving
from tests.runtime.modules import Deep

from instar import package
from instar.weights.manifest import Weights


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers; by default all on one state directory, one after the other."""
    started: list[Server] = []

    def make(
        *options: str,
        state: Path | None = None,
        environ: Mapping[str, str] | None = None,
        costs: str | None = "none",
    ) -> Server:
        started.append(Server(state or tmp_path / "state", *options, environ=environ, costs=costs))
        return started[-1]

    yield make
    for server in started:
        if server.process.poll() is None:
            server.end(signal.SIGINT)
    for server in started:
        assert below(server.containers) == []


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One server for all tests of a file, without stem cells."""
    running = Server(tmp_path_factory.mktemp("state"), "--prewarm", "none")
    yield running
    running.end(signal.SIGINT)
    assert below(running.containers) == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="module")
def net(folder: Path) -> Deep:
    return arriving.pack(folder, "net")["net"]


@pytest.fixture
def source(folder: Path, net: Deep) -> Iterator[Observed]:
    source = Observed(folder)
    thread = threading.Thread(target=source.serve, daemon=True)
    thread.start()
    yield source
    source.close()
    thread.join()


@pytest.fixture
def weights(folder: Path, net: Deep) -> Weights:
    return package.decode(package.read(folder / "net")).weights
