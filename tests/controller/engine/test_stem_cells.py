"""Which stem cells are started, and when."""

from __future__ import annotations

from worlds import container, function

from instar_controller.policies import prewarm
from instar_controller.policies.lifecycle import State
from instar_controller.policies.prewarm import StemCells
from instar_controller.policies.snapshot import Container

PYTHON = StemCells("python:3", 256, 1)
PYTORCH = StemCells("pytorch:2", 512, 1)


def refill(*containers: Container, budget_mb: int = 4096, starts_at_once: int = 9) -> tuple[StemCells, ...]:
    return prewarm.refill((PYTHON, PYTORCH), containers, budget_mb=budget_mb, starts_at_once=starts_at_once)


def test_an_empty_pool_gets_all_of_them() -> None:
    assert refill() == (PYTHON, PYTORCH)


def test_one_that_was_taken_is_replaced() -> None:
    taken = container(function(), state=State.RUNNING)
    assert refill(taken, container(state=State.PREWARMED, kind="pytorch:2", memory_mb=512)) == (PYTHON,)


def test_one_that_is_on_its_way_counts_and_one_that_leaves_does_not() -> None:
    coming = container(state=State.STARTING)
    leaving = container(state=State.REMOVING, kind="pytorch:2", memory_mb=512)
    assert refill(coming, leaving) == (PYTORCH,)


def test_none_is_started_beyond_the_budget() -> None:
    assert refill(container(function(), memory_mb=256), budget_mb=768) == (PYTHON,)


def test_one_boot_is_left_to_the_jobs() -> None:
    assert refill(starts_at_once=2) == (PYTHON,)
    assert refill(container(function("g"), state=State.STARTING), starts_at_once=2) == ()


def test_a_node_that_boots_one_at_a_time_still_gets_its_stem_cells() -> None:
    assert refill(starts_at_once=1) == (PYTHON,)
