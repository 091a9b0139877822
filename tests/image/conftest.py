"""Containers of the image for tests, and the engine and the image that they need.

Where there is no engine and none can be started, these tests are skipped on a laptop and fail in CI.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from deploy.image import make
from deploy.image.engine import Engine
from deploy.image.errors import ImageError

from tests.image import engine as engines
from tests.image.containers import ImageContainer

Start = Callable[..., ImageContainer]
AHEAD = 1  # containers that boot while the test before still runs


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Do not count the minutes that making the image takes, once, against the test that happens to come first."""
    for item in items:
        if "engine" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(func_only=True))


@pytest.fixture(scope="session")
def engine() -> Iterator[Engine]:
    """A Docker Engine: `engine.client` asks it, `engine.environ` points a command line to it."""
    try:
        with engines.available() as found:
            yield found
    except ImageError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def image(engine: Engine) -> str:
    """The action image of this checkout: built if what the engine has was built from something else."""
    return make.image(engine, lambda _: None).image


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
