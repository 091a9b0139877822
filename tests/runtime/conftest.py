"""Containers for tests: one of each test's own, which ends with it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.runtime import arriving, successions
from tests.runtime.arriving import Caller
from tests.runtime.containers import Container
from tests.runtime.modules import Deep
from tests.runtime.source import Source, serving
from tests.runtime.successions import Packed

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


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `modules` are packed and what `source` serves."""
    return tmp_path_factory.mktemp("packages")


@pytest.fixture(scope="module")
def modules(folder: Path) -> dict[str, Deep]:
    """Two modules with weights of many chunks, by the names of their packages."""
    return arriving.pack(folder, "one", "two")


@pytest.fixture
def source(folder: Path, modules: dict[str, Deep]) -> Iterator[Source]:
    """Serves the packages' weights, as slowly and as badly as a test wants."""
    with serving(folder) as source:
        yield source


@pytest.fixture
def caller(container: Container) -> Iterator[Caller]:
    """Calls the container from a thread of its own."""
    caller = Caller(container)
    yield caller
    caller.close()


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Packed]:
    """Packages of models that become one another, by name. Not to be changed."""
    return successions.pack(tmp_path_factory.mktemp("successions"))


@pytest.fixture(scope="session")
def given_spares(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Container]]:
    """Like `spares`, of containers that were given a token."""
    waiting: deque[Container] = deque()

    def take() -> Container:
        while len(waiting) < AHEAD:
            waiting.append(Container(tmp_path_factory.mktemp("given"), environ=successions.GIVEN))
        return waiting.popleft()

    yield take
    for container in waiting:
        container.close()


@pytest.fixture
def given(given_spares: Callable[[], Container]) -> Iterator[Container]:
    """A fresh container that can be asked to become another function."""
    container = given_spares()
    yield container
    container.close()
