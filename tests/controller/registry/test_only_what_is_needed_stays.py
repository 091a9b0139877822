"""After a model is unregistered nothing answers for it, and tidying up leaves what the others need."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from registered import CHEAP, WAIT_S, check_every_pair, entries, models, register

from instar import package
from instar_controller.clients.plans import PlanRepository
from instar_controller.engines.registry import Registry

pytestmark = pytest.mark.system


def test_an_unregistered_model_is_gone_from_answers_and_after_tidying_from_disk(
    make_registry: Callable[..., Registry], repository: PlanRepository
) -> None:
    first, second, third = models(3)
    registry = make_registry()
    register(registry, [first, second, third])
    before = entries(repository)
    registry.unregister("model 2")
    assert registry.models == {first.digest, second.digest}
    assert registry.answer_for(first.digest, third.digest) is registry.answer_for(third.digest, first.digest) is None
    assert repository.collect(models=registry.models, costs=[registry.costs_key]) == 6
    left = entries(repository)
    assert left == {path: when for path, when in before.items() if third.digest not in path.parts}
    assert len(left) == 6
    assert sum(check_every_pair(registry, repository, [first, second])) == 4


def test_a_model_stays_as_long_as_one_of_its_names(make_registry: Callable[..., Registry]) -> None:
    first, second = models(2)
    registry = make_registry()
    register(registry, [first, second, first])
    registry.unregister("model 0")
    registry.unregister("nobody")
    assert registry.answer_for(first.digest, second.digest) is not None
    registry.unregister("model 2")
    assert registry.models == {second.digest}
    assert registry.answer_for(first.digest, second.digest) is None


def test_plans_at_costs_that_nobody_uses_go(
    make_registry: Callable[..., Registry], repository: PlanRepository
) -> None:
    packages = models(2)
    old = make_registry(dataclasses.replace(CHEAP, device="old"))
    new = make_registry()
    for registry in (old, new):
        register(registry, packages)
    assert repository.collect(models=new.models, costs=[new.costs_key]) == 4
    assert [path.name for path in (repository.root / "plans").iterdir()] == [new.costs_key]
    assert sum(check_every_pair(new, repository, packages)) == 4


def test_who_still_uses_what_another_tidied_up_makes_it_again(
    make_registry: Callable[..., Registry], repository: PlanRepository
) -> None:
    first, second, third = packages = models(3)
    registry = make_registry()
    register(registry, [first, second])
    assert repository.collect(models=[], costs=[]) == 6
    assert entries(repository) == {}
    registry.register("third", third)
    assert registry.wait(WAIT_S)
    assert all(registry.answer_for(a.digest, b.digest) for a in packages for b in packages if a is not b)


def test_tidying_up_while_an_entry_is_written_does_not_lose_it(
    repository: PlanRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model,) = models(1)
    replace, collected = os.replace, []

    def tidy_up_and_replace(source: Path, target: Path) -> None:
        if not collected:
            collected.append(repository.collect(models=[], costs=[]))
        replace(source, target)

    monkeypatch.setattr(os, "replace", tidy_up_and_replace)
    repository.put_model(model.digest, package.encode(model))
    assert collected == [0]
    assert repository.outline(model.digest) is not None
