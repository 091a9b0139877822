"""What a repository has is not planned again; what it has lost, or was damaged there, is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue

import pytest
from registered import CHEAP, WAIT_S, check_every_pair, entries, models, pair_file, register

from instar_controller.clients.plans import PlanRepository
from instar_controller.engines import registry as registries
from instar_controller.engines.registry import Registry

pytestmark = pytest.mark.system


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def change_a_byte(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def remove(path: Path) -> None:
    path.unlink()


def put_another_in_its_place(path: Path) -> None:
    other = next(p for p in path.parent.iterdir() if p != path)
    path.write_bytes(other.read_bytes())


DAMAGES = [cut_short, empty, change_a_byte, remove, put_another_in_its_place]


def test_a_restart_plans_nothing_and_starts_no_process(
    make_registry: Callable[..., Registry], repository: PlanRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages = models(4)
    first = make_registry()
    register(first, packages)
    first.close()
    before = entries(repository)
    monkeypatch.delattr(registries, "ProcessPoolExecutor")
    second = make_registry()
    register(second, packages)
    assert second.computed == 0
    assert sum(check_every_pair(second, repository, packages)) == 16
    plans = repository.root / "plans"
    assert {p: t for p, t in entries(repository).items() if plans in p.parents} == {
        p: t for p, t in before.items() if plans in p.parents
    }


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_plan_is_made_again(
    make_registry: Callable[..., Registry], repository: PlanRepository, damage: Callable[[Path], None]
) -> None:
    packages = models(3)
    first = make_registry()
    digests = register(first, packages)
    damage(pair_file(repository, first, digests[0], digests[1]))
    assert repository.find(digests[0], digests[1], first.costs_key) is None
    second = make_registry()
    register(second, packages)
    assert second.computed == 1
    assert sum(check_every_pair(second, repository, packages)) == 9


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_model_is_written_again(
    make_registry: Callable[..., Registry], repository: PlanRepository, damage: Callable[[Path], None]
) -> None:
    first, second, third = models(3)
    registry = make_registry()
    register(registry, [first, second])
    damage(repository.root / "models" / first.digest)
    assert repository.outline(first.digest) is None
    register(registry, [first, second, third])
    assert repository.outline(first.digest) is not None
    assert sum(check_every_pair(registry, repository, [first, second, third])) == 9


def test_plans_are_answered_where_they_cannot_be_kept(
    make_registry: Callable[..., Registry], repository: PlanRepository
) -> None:
    packages = models(2)
    registry = make_registry()
    repository.root.mkdir()
    (repository.root / "plans").write_bytes(b"no folder")
    digests = register(registry, packages)
    assert registry.answer_for(*digests) is not None
    assert repository.find(*digests, registry.costs_key) is None


def test_a_model_that_is_kept_is_adopted_by_its_digest(
    make_registry: Callable[..., Registry], repository: PlanRepository
) -> None:
    packages = models(2)
    first = make_registry()
    digests = register(first, packages)
    second = make_registry()
    assert all(second.adopt(digest, digest) for digest in digests)
    assert second.wait(WAIT_S)
    assert second.computed == 0
    assert sum(check_every_pair(second, repository, packages)) == 4


@pytest.mark.parametrize("damage", [cut_short, empty, change_a_byte, remove])
def test_a_model_that_is_damaged_is_not_adopted(
    make_registry: Callable[..., Registry], repository: PlanRepository, damage: Callable[[Path], None]
) -> None:
    (model,) = models(1)
    first = make_registry()
    register(first, [model])
    damage(repository.root / "models" / model.digest)
    second = make_registry()
    assert not second.adopt("a name", model.digest)
    assert second.models == frozenset()


def test_the_thread_says_when_nothing_is_left_to_do(repository: PlanRepository) -> None:
    idle: SimpleQueue[None] = SimpleQueue()
    registry = Registry(repository, CHEAP, on_idle=lambda: idle.put(None))
    for number, model in enumerate(models(2)):
        registry.register(f"model {number}", model)
    while registry.plans < 4:
        idle.get(timeout=WAIT_S)
    registry.close()
