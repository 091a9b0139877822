"""A folder for a repository, and registries that are closed in the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.plan.strategies import PLAUSIBLE

from instar.plan.costs import Costs
from instar_controller.clients.plans import PlanRepository
from instar_controller.engines.registry import Registry


@pytest.fixture
def repository(tmp_path: Path) -> PlanRepository:
    return PlanRepository(tmp_path / "plans")


@pytest.fixture
def make_registry(repository: PlanRepository) -> Iterator[Callable[..., Registry]]:
    """Registries over the one repository, with one process each."""
    with contextlib.ExitStack() as stack:

        def make(costs: Costs = PLAUSIBLE) -> Registry:
            registry = Registry(repository, costs)
            stack.callback(registry.close)
            return registry

        yield make
