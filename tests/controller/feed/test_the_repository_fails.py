"""A repository that does not answer for a while costs a registry no plan: what it had begun with is planned later,
and what was planned meanwhile is kept later."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection, Iterable, Iterator, Mapping

import pytest
from sharing import CHEAP, WAIT_S, InThreads, models

from instar.plan.outline import Outline
from instar_controller.clients.memory_documents import MemoryDocuments
from instar_controller.clients.plan_documents import PlanDocuments
from instar_controller.clients.plans import Answer, KeptPlan
from instar_controller.clients.roll import Roll
from instar_controller.engines import registry as registries
from instar_controller.engines.registry import Registry
from instar_controller.errors import StoreError


class Unreliable:
    """A repository of which methods fail by name, as long as a test wants."""

    def __init__(self) -> None:
        self.kept = PlanDocuments(MemoryDocuments())
        self.failing: set[str] = set()
        self.failures = threading.Semaphore(0)

    def _check(self, method: str) -> None:
        if method in self.failing:
            self.failures.release()
            raise StoreError(f"{method} fails, as its test wants it")

    def await_failures(self, count: int) -> None:
        for _ in range(count):
            assert self.failures.acquire(timeout=WAIT_S)

    def put_model(self, digest: str, model_json: bytes) -> None:
        self._check("put_model")
        self.kept.put_model(digest, model_json)

    def model_json(self, digest: str) -> bytes | None:
        self._check("model_json")
        return self.kept.model_json(digest)

    def outline(self, digest: str) -> Outline | None:
        self._check("outline")
        return self.kept.outline(digest)

    def put(self, source: str, target: str, costs: str, answer: Answer) -> None:
        self._check("put")
        self.kept.put(source, target, costs, answer)

    def find(self, source: str, target: str, costs: str) -> Answer | None:
        self._check("find")
        return self.kept.find(source, target, costs)

    def find_all(self, pairs: Iterable[tuple[str, str]], costs: str) -> Mapping[tuple[str, str], Answer]:
        self._check("find_all")
        return self.kept.find_all(pairs, costs)

    def put_roll(self, roll: Roll) -> None:
        self.kept.put_roll(roll)

    def roll(self) -> Roll | None:
        return self.kept.roll()

    def collect(self, *, models: Collection[str], costs: Collection[str]) -> int:
        return self.kept.collect(models=models, costs=costs)


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Unreliable:
    monkeypatch.setattr(registries, "ProcessPoolExecutor", InThreads)
    monkeypatch.setattr(registries, "FIRST_PAUSE_S", 0.02)
    monkeypatch.setattr(registries, "LONGEST_PAUSE_S", 0.05)
    return Unreliable()


@pytest.fixture
def registry(repository: Unreliable) -> Iterator[Registry]:
    made = Registry(repository, CHEAP)
    yield made
    made.close()


@pytest.mark.parametrize("method", ["find_all", "outline"])
def test_pairs_that_cannot_be_begun_with_are_planned_when_it_answers_again(
    repository: Unreliable, registry: Registry, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    first, second = models(2)
    repository.failing = {method}
    registry.register("a", first)
    registry.register("b", second)
    repository.await_failures(8)  # more than any number of tries
    assert registry.plans == 0
    assert not registry.wait(0)
    repository.failing = set()
    assert registry.wait(WAIT_S)
    assert registry.plans == registry.computed == 4
    said = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1  # not one for each try


def test_plans_that_were_not_taken_are_answered_and_kept_later(repository: Unreliable, registry: Registry) -> None:
    first, second = models(2)
    repository.failing = {"put"}
    registry.register("a", first)
    registry.register("b", second)
    assert registry.wait(WAIT_S)
    pair = (first.digest, second.digest)
    answer = registry.answer_for(*pair)
    assert isinstance(answer, KeptPlan)
    assert repository.kept.find(*pair, registry.costs_key) is None
    repository.await_failures(6)  # four of planning, and more
    kept = threading.Event()
    put = repository.kept.put

    def count(*arguments: object) -> None:
        put(*arguments)  # type: ignore[arg-type]
        if len(repository.kept.find_all(pairs, registry.costs_key)) == 4:
            kept.set()

    pairs = [(a.digest, b.digest) for a in (first, second) for b in (first, second)]
    repository.kept.put = count  # type: ignore[method-assign]
    repository.failing = set()
    assert kept.wait(WAIT_S)
    assert repository.kept.find(*pair, registry.costs_key) == answer
    assert registry.computed == 4


def test_what_left_meanwhile_is_not_kept(repository: Unreliable, registry: Registry) -> None:
    first, second = models(2)
    repository.failing = {"put"}
    registry.register("a", first)
    registry.register("b", second)
    assert registry.wait(WAIT_S)
    registry.unregister("b")
    repository.failing = set()
    registry.register("c", models(3)[2])
    assert registry.wait(WAIT_S)
    registry.close()
    assert repository.kept.find(first.digest, second.digest, registry.costs_key) is None
