"""A pair that cannot be planned is given up with a word in the log; nothing else is, and nobody waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

import pytest
from registered import CHEAP, WAIT_S, models, register

from instar.plan import replay
from instar.plan.outline import outline
from instar_controller.clients.plans import KeptPlan, PlanRepository
from instar_controller.engines import planning
from instar_controller.engines import registry as registries
from instar_controller.engines.planning import Failed
from instar_controller.engines.registry import Registry
from instar_controller.errors import StoreError


def test_a_plan_that_does_not_arrive_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = map(outline, models(2))
    assert isinstance(planning.proven(source, target, CHEAP), KeptPlan)
    monkeypatch.setattr(replay, "arrives", lambda *_: False)
    assert isinstance(planning.proven(source, target, CHEAP), Failed)


@pytest.mark.system
def test_a_model_that_cannot_be_read_or_written_costs_its_own_plans_only(
    make_registry: Callable[..., Registry], repository: PlanRepository, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = models(3)
    registry = make_registry()
    register(registry, [first])
    unreadable = repository.root / "models" / first.digest
    unreadable.unlink()
    (unreadable / "folder").mkdir(parents=True)
    registry.register("second", second)
    registry.register("third", third)
    assert registry.wait(WAIT_S)
    assert registry.answer_for(second.digest, third.digest) is not None
    assert registry.answer_for(third.digest, second.digest) is not None
    assert registry.computed == 5  # the first with itself, before
    assert sum(record.levelname == "ERROR" for record in caplog.records) == 4


def test_a_model_that_cannot_be_kept_is_not_registered(
    make_registry: Callable[..., Registry], repository: PlanRepository
) -> None:
    repository.root.write_bytes(b"no folder")
    registry = make_registry()
    with pytest.raises(StoreError, match="cannot be written"):
        registry.register("first", models(1)[0])
    assert registry.models == frozenset()


@pytest.mark.system
def test_without_processes_pairs_are_given_up(
    make_registry: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(24, "Too many open files")

    first, second = models(2)
    registry = make_registry()
    monkeypatch.setattr(registries, "ProcessPoolExecutor", refuse)
    register(registry, [first, second])
    assert registry.answer_for(first.digest, second.digest) is None
    assert caplog.text.count("there is no plan") == 4
    monkeypatch.undo()
    registry.unregister("model 1")
    register(registry, [first, second])
    assert registry.answer_for(first.digest, second.digest) is not None
