"""A folder for a repository; registries and followers that are closed in the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from followed import Followed
from registered import CHEAP, WAIT_S

from instar.plan.costs import Costs
from instar_controller.clients.memory import MemoryStore
from instar_controller.clients.plans import PlanRepository
from instar_controller.engines import follower as followers
from instar_controller.engines.follower import Follower
from instar_controller.engines.registry import Registry


@pytest.fixture
def repository(tmp_path: Path) -> PlanRepository:
    return PlanRepository(tmp_path / "plans")


@pytest.fixture
def make_registry(repository: PlanRepository) -> Iterator[Callable[..., Registry]]:
    """Registries over the one repository, with one process each."""
    with contextlib.ExitStack() as stack:

        def make(costs: Costs = CHEAP) -> Registry:
            registry = Registry(repository, costs)
            stack.callback(registry.close)
            return registry

        yield make


@pytest.fixture
def followed(tmp_path: Path) -> Followed:
    return Followed(tmp_path / "plans", MemoryStore())


@pytest.fixture
def follow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Follower]]:
    """Followers of what is given, closed in the end; one that is closed has ended, however long that takes it."""
    monkeypatch.setattr(followers, "CLOSE_S", WAIT_S)
    with contextlib.ExitStack() as stack:

        def begin(followed: Followed, *arguments: Any, **options: Any) -> Follower:
            follower = followed.follow(*arguments, **options)
            stack.callback(follower.close)
            return follower

        yield begin
