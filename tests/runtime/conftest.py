"""Containers for tests: one of each test's own, which ends with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.runtime.containers import Container

Start = Callable[..., Container]
AHEAD = 2  # containers that boot while the test before still runs


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts containers: `start(*arguments, environ=…)`."""
    started: list[Container] = []

    def start(*arguments: str, environ: Mapping[str, str] | None = None) -> Container:
        started.append(Container(tmp_path / f"container-{len(started)}", *arguments, environ=environ))
        return started[-1]

    yield start
    for container in started:
        container.close()


@pytest.fixture(scope="session")
def spares(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Container]]:
    """Hands out fresh containers, and has the next ones boot meanwhile: a boot takes longer than most tests."""
    waiting: deque[Container] = deque()

    def take() -> Container:
        while len(waiting) <= AHEAD:
            waiting.append(Container(tmp_path_factory.mktemp("container")))
        return waiting.popleft()

    yield take
    for container in waiting:
        container.close()


@pytest.fixture
def container(spares: Callable[[], Container]) -> Iterator[Container]:
    """A fresh container."""
    container = spares()
    yield container
    container.close()


@pytest.fixture(scope="module")
def empty(spares: Callable[[], Container]) -> Iterator[Container]:
    """A container for a whole file, whose tests leave it without a function: a failed `/init` changes nothing."""
    container = spares()
    yield container
    container.close()
