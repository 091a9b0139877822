"""What was planned is counted by what came of it, and nothing that was counted is ever taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest
from registered import CHEAP, models, register

from instar.plan.costs import Costs
from instar_controller.engines import registry as registries
from instar_controller.engines.effort import Effort
from instar_controller.engines.registry import Registry

DEAR = Costs("dear", {**CHEAP.rates_ns, "transform": 1e12})


@pytest.mark.system
def test_pairs_with_a_plan_and_pairs_to_load_are_told_apart(make_registry: Callable[..., Registry]) -> None:
    packages = models(2)
    for costs, expected in ((CHEAP, (4, 0)), (DEAR, (0, 4))):
        registry = make_registry(costs)
        register(registry, packages)
        assert (registry.effort.planned, registry.effort.instead) == expected
        assert (registry.effort.failed, registry.effort.found) == (0, 0)
        assert registry.effort.planning_s > 0


@pytest.mark.system
def test_what_the_repository_had_took_no_planning(make_registry: Callable[..., Registry]) -> None:
    packages = models(2)
    register(make_registry(), packages)
    second = make_registry()
    register(second, packages)
    assert second.effort == Effort(found=4)


def test_pairs_without_an_answer_have_failed(
    make_registry: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(registries, "ProcessPoolExecutor", refuse)
    registry = make_registry()
    register(registry, models(2))
    assert registry.effort == Effort(failed=4)


def test_efforts_add_up() -> None:
    total = sum([Effort(1, 2, 3, 4, 0.5), Effort(10, 20, 30, 40, 1.0)], Effort())
    assert total == Effort(11, 22, 33, 44, 1.5)
    assert total.computed == 33
