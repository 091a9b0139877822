"""One registry of models for each kind of device: every model is in each, whichever came first."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence

import pytest
from sharing import CHEAP, OTHER, WAIT_S, InThreads, models

from instar.package import Package
from instar_controller.clients.memory_documents import MemoryDocuments
from instar_controller.clients.plan_documents import PlanDocuments
from instar_controller.clients.plans import KeptPlan, key_of
from instar_controller.engines import registry as single
from instar_controller.engines.registries import Registries, without_plan
from instar_controller.engines.registry import Registry


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> PlanDocuments:
    monkeypatch.setattr(single, "ProcessPoolExecutor", InThreads)
    return PlanDocuments(MemoryDocuments())


@pytest.fixture
def idle() -> threading.Semaphore:
    return threading.Semaphore(0)


@pytest.fixture
def registries(repository: PlanDocuments, idle: threading.Semaphore) -> Iterator[Registries]:
    made = Registries(repository, on_idle=idle.release)
    yield made
    made.close()


def settle(registries: Registries, idle: threading.Semaphore, plans: int) -> None:
    while not registries.is_idle() or registries.plans != plans:
        assert idle.acquire(timeout=WAIT_S), f"{registries!r} has {registries.plans} plans, not {plans}"


def kept(repository: PlanDocuments, packages: Sequence[Package], key: str) -> int:
    return len(repository.find_all([(a.digest, b.digest) for a in packages for b in packages], key))


def test_models_and_costs_may_come_in_any_order(
    repository: PlanDocuments, registries: Registries, idle: threading.Semaphore
) -> None:
    first, second, third = packages = models(3)
    registries.register("a", first)
    registries.plan_for([CHEAP])
    registries.register("b", second)
    settle(registries, idle, 4)
    registries.plan_for([CHEAP, OTHER])
    settle(registries, idle, 8)
    registries.register("c", third)
    settle(registries, idle, 18)
    assert registries.costs_keys == {key_of(CHEAP), key_of(OTHER)}
    assert kept(repository, packages, key_of(CHEAP)) == kept(repository, packages, key_of(OTHER)) == 9


def test_for_costs_that_hold_no_more_nothing_is_planned(
    repository: PlanDocuments, registries: Registries, idle: threading.Semaphore
) -> None:
    first, second = packages = models(2)
    registries.plan_for([CHEAP])
    registries.register("a", first)
    settle(registries, idle, 1)
    registries.plan_for([OTHER])
    registries.register("b", second)
    settle(registries, idle, 4)
    assert kept(repository, packages, key_of(CHEAP)) == 1
    assert registries.effort.planned == 1 + 4  # for whatever kind, and whether or not it is planned for any more


def test_a_model_stays_as_long_as_one_of_its_names(registries: Registries, idle: threading.Semaphore) -> None:
    first, second = models(2)
    registries.plan_for([CHEAP])
    for name, model in (("a", first), ("b", first), ("c", second)):
        registries.register(name, model)
    registries.unregister("a")
    registries.unregister("nobody")
    settle(registries, idle, 4)
    registries.unregister("b")
    assert registries.models == {second.digest}
    assert registries.adopt("b", first.digest)  # the repository still has it
    settle(registries, idle, 4)
    assert not registries.adopt("d", "0" * 64)


def test_a_name_that_is_given_to_another_model_drops_the_first(registries: Registries) -> None:
    first, second = models(2)
    registries.register("a", first)
    registries.register("a", second)
    assert registries.models == {second.digest}


def test_plans_are_not_kept_in_memory(repository: PlanDocuments) -> None:
    (model,) = models(1)
    registry = Registry(repository, CHEAP, remember=without_plan)
    registry.register("a", model)
    assert registry.wait(WAIT_S)
    pair = (model.digest, model.digest)
    answer, stored = registry.answer_for(*pair), repository.find(*pair, key_of(CHEAP))
    registry.close()
    assert isinstance(answer, KeptPlan)
    assert isinstance(stored, KeptPlan)
    assert answer == KeptPlan(b"", stored.estimate)
    assert stored.encoded()
