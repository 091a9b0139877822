"""Containers for tests of survival, each marked so that whatever descends from it can be found."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.image.containers import LABEL, ImageContainer
from tests.runtime.containers import Container
from tests.survival import functions
from tests.survival.subjects import MARK, Subject

AHEAD = 2  # containers that boot while another one is harmed
Make = Callable[[], Subject]


@pytest.fixture(params=["processes", "image"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Make:
    """Starts containers, of local processes or of the image. Who starts one closes it."""
    if request.param == "image":
        client, image = request.getfixturevalue("docker_engine").client, request.getfixturevalue("action_image")
        return lambda: ImageContainer(client, image, labels={LABEL: "survival"})
    numbers = itertools.count()

    def local() -> Subject:
        root = tmp_path / f"container-{next(numbers)}"
        return Container(root, environ={MARK: str(root)})

    return local


@pytest.fixture
def subject(make: Make) -> Iterator[Subject]:
    """One fresh container."""
    made = make()
    yield made
    made.close()


@pytest.fixture
def spares(make: Make) -> Iterator[Make]:
    """Hands out fresh containers, and has the next ones boot meanwhile."""
    waiting: deque[Subject] = deque()

    def take() -> Subject:
        while len(waiting) <= AHEAD:
            waiting.append(make())
        return waiting.popleft()

    yield take
    for one in waiting:
        one.close()


@pytest.fixture(scope="session")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The archive of a function that calls a small model, in base64."""
    return functions.doubling(tmp_path_factory.mktemp("doubling"))
