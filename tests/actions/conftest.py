"""Sample actions as they are uploaded, and containers that run them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from actions import build
from tests.runtime.containers import Container


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The zip of an action, built once."""
    out = tmp_path_factory.mktemp("build")

    def archive(name: str) -> Path:
        found = out / f"{name}.zip"
        return found if found.exists() else build.build(name, out)

    return archive


@pytest.fixture(scope="module")
def classify(archive: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A container that has been initialised with the smallest classifier."""
    with closing(Container(tmp_path_factory.mktemp("classify"))) as container:
        assert container.init(archive("classify-lite0").read_bytes()).status == 200
        yield container


@pytest.fixture(scope="module")
def embed(archive: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A container that has been initialised with the sentence encoder."""
    with closing(Container(tmp_path_factory.mktemp("embed"))) as container:
        assert container.init(archive("embed").read_bytes()).status == 200
        yield container
