"""Containers for tests: one of each test's own, which ends with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.runtime.containers import Container

Start = Callable[..., Container]


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


@pytest.fixture
def container(start: Start) -> Container:
    """A fresh container."""
    return start()
