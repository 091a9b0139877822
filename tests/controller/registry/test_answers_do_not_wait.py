"""Plans are answered while a process is planning and cannot go on, and registering does not wait for it either."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from registered import WAIT_S, caught_planning, check_every_pair, models, register

from instar_controller.clients.plans import PlanRepository
from instar_controller.engines.registry import Registry

pytestmark = pytest.mark.system


def test_answers_come_while_the_processes_are_busy(
    make_registry: Callable[..., Registry], repository: PlanRepository
) -> None:
    first, second, third, fourth = packages = models(4)
    registry = make_registry()
    register(registry, [first, second])
    with caught_planning(registry, repository, third, "third"):
        # Whoever waited here for the process would wait for ever.
        assert registry.answer_for(first.digest, second.digest) is not None
        assert registry.answer_for(first.digest, third.digest) is None
        assert registry.answer_for("0" * 64, third.digest) is None
        registry.register("fourth", fourth)
        assert not registry.wait(0)
    assert registry.wait(WAIT_S)
    assert sum(check_every_pair(registry, repository, packages)) == 16


def test_a_model_that_leaves_and_returns_while_it_is_planned_for_is_answered(
    make_registry: Callable[..., Registry], repository: PlanRepository
) -> None:
    first, second = models(2)
    registry = make_registry()
    register(registry, [first])
    with caught_planning(registry, repository, second, "second"):
        registry.unregister("second")
        registry.register("second", second)
    assert registry.wait(WAIT_S)
    assert sum(check_every_pair(registry, repository, [first, second])) == 4
