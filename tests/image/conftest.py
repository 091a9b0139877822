"""Containers of the image for tests, and the engine and the image that they need.

Where there is no engine and none can be started, these tests are skipped on a laptop and fail in CI.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from deploy.image.engine import Engine

from tests.image.containers import ImageContainer

Start = Callable[..., ImageContainer]
AHEAD = 1  # containers that boot while the test before still runs


@pytest.fixture(scope="session")
def engine(docker_engine: Engine) -> Engine:
    """A Docker Engine: `engine.client` asks it, `engine.environ` points a command line to it."""
    return docker_engine


@pytest.fixture(scope="session")
def image(action_image: str) -> str:
    """The action image of this checkout."""
    return action_image


@pytest.fixture
def start(engine: Engine, image: str) -> Iterator[Start]:
    """Starts containers: `start(*arguments, environ=…)`, with any of `docker run`'s options by keyword."""
    started: list[ImageContainer] = []

    def start(*arguments: str, environ: Mapping[str, str] | None = None, **options: Any) -> ImageContainer:
        started.append(ImageContainer(engine.client, image, *arguments, environ=environ, **options))
        return started[-1]

    yield start
    for container in started:
        container.close()


@pytest.fixture(scope="session")
def spares(engine: Engine, image: str) -> Iterator[Callable[[], ImageContainer]]:
    """Hands out fresh containers, and has the next ones boot meanwhile: a boot takes longer than most tests."""
    waiting: deque[ImageContainer] = deque()

    def take() -> ImageContainer:
        while len(waiting) <= AHEAD:
            waiting.append(ImageContainer(engine.client, image))
        return waiting.popleft()

    yield take
    for container in waiting:
        container.close()


@pytest.fixture
def container(spares: Callable[[], ImageContainer]) -> Iterator[ImageContainer]:
    """A fresh container."""
    container = spares()
    yield container
    container.close()


@pytest.fixture(scope="module")
def empty(spares: Callable[[], ImageContainer]) -> Iterator[ImageContainer]:
    """A container for a whole file, whose tests leave it without a function: a failed `/init` changes nothing."""
    container = spares()
    yield container
    container.close()
