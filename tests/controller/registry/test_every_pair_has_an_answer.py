"""Registered models have a proven plan, or the word to load, from each to each other one."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from registered import CHEAP, WAIT_S, check_every_pair, models, register

from instar.plan import plans
from instar.plan.costs import Costs
from instar.plan.metaops import Replace
from instar_controller.clients.plans import KeptPlan, PlanRepository
from instar_controller.engines.registry import Registry

pytestmark = pytest.mark.system

DEAR = Costs("dear", {**CHEAP.rates_ns, "transform": 1e12})


def test_every_ordered_pair_has_a_proven_plan(
    make_registry: Callable[..., Registry], repository: PlanRepository
) -> None:
    packages = models(5)
    registry = make_registry()
    register(registry, packages)
    planned, instead = check_every_pair(registry, repository, packages)
    assert planned + instead == registry.computed == 25
    assert planned > 15


def test_where_transforming_is_dear_the_word_to_load_is_kept(
    make_registry: Callable[..., Registry], repository: PlanRepository
) -> None:
    packages = models(3)
    registry = make_registry(DEAR)
    register(registry, packages)
    assert check_every_pair(registry, repository, packages) == (0, 9)


def test_other_costs_are_planned_for_beside_the_first(
    make_registry: Callable[..., Registry], repository: PlanRepository
) -> None:
    packages = models(2)
    first, second = make_registry(), make_registry(DEAR)
    for registry in (first, second):
        register(registry, packages)
    assert second.computed == 4
    assert check_every_pair(first, repository, packages) == (4, 0)
    assert check_every_pair(second, repository, packages) == (0, 4)


def test_a_model_under_two_names_is_planned_once(make_registry: Callable[..., Registry]) -> None:
    first, second = models(2)
    registry = make_registry()
    register(registry, [first, second, first])
    assert registry.computed == 4
    assert registry.models == {first.digest, second.digest}


def test_a_model_becomes_itself_by_replacing_nothing(make_registry: Callable[..., Registry]) -> None:
    (model,) = models(1)
    registry = make_registry()
    register(registry, [model])
    answer = registry.answer_for(model.digest, model.digest)
    assert isinstance(answer, KeptPlan)
    steps = plans.decode(answer.encoded()).steps
    assert {type(step) for step in steps} == {Replace}
    assert sum(step.moved_bytes for step in steps if isinstance(step, Replace)) == 0


def test_a_name_that_is_given_to_another_model_drops_the_first(make_registry: Callable[..., Registry]) -> None:
    first, second, third = models(3)
    registry = make_registry()
    register(registry, [first, second])
    registry.register("model 1", third)
    assert registry.wait(WAIT_S)
    assert registry.answer_for(first.digest, second.digest) is None
    assert registry.answer_for(first.digest, third.digest) is not None


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_two_hundred_models_are_planned_between(repository: PlanRepository) -> None:
    packages = models(200)
    registry = Registry(repository, CHEAP, processes=2)
    began_s = time.monotonic()
    for package in packages:
        registry.register(package.digest, package)
    assert registry.wait(500)
    print(f"{len(registry.models)} models, {registry.computed} pairs in {time.monotonic() - began_s:.1f} s")
    registry.close()
    assert registry.computed == registry.plans == len(registry.models) ** 2
