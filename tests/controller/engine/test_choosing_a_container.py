"""Which container gets the job at the head of the queue."""

from __future__ import annotations

import pytest
from worlds import container, function, job

from instar_controller.policies import pool
from instar_controller.policies.lifecycle import State
from instar_controller.policies.snapshot import Container, Job
from instar_controller.whisk.invocation import ContainerKey


def decide(wanted: Job, *containers: Container, budget_mb: int = 1024, starts_at_once: int = 2) -> pool.Decision:
    return pool.decide(wanted, containers, budget_mb=budget_mb, starts_at_once=starts_at_once)


def test_a_warm_container_beats_a_prewarmed_one() -> None:
    warm = container(function())
    cell = container(state=State.PREWARMED)
    assert decide(job(), cell, warm) == pool.UseWarm(warm.id)


def test_of_two_warm_containers_the_one_used_last_is_taken() -> None:
    older, newer = container(function(), last_used_s=1), container(function(), last_used_s=2)
    assert decide(job(), older, newer) == pool.UseWarm(newer.id)


@pytest.mark.parametrize(
    "other",
    [
        function(namespace="other"),
        function("other"),
        function(revision=2),
        function(environment=(("MODEL", "other"),)),
    ],
    ids=["namespace", "action", "revision", "environment"],
)
def test_a_warm_container_serves_only_an_equal_action_in_the_same_namespace(other: ContainerKey) -> None:
    assert decide(job(), container(other)) == pool.StartCold()


@pytest.mark.parametrize("state", [State.STARTING, State.RUNNING, State.REMOVING, State.GONE], ids=lambda s: s.value)
def test_a_container_that_is_not_idle_is_never_taken(state: State) -> None:
    assert decide(job(), container(function(), state=state)) == pool.StartCold()


def test_a_container_that_is_finishing_its_log_is_waited_for() -> None:
    assert decide(job(), container(function(), state=State.COLLECTING)) == pool.Wait()
    assert decide(job("other"), container(function(), state=State.COLLECTING)) == pool.StartCold()


def test_a_prewarmed_container_is_taken_for_its_kind_and_exactly_its_memory() -> None:
    cell = container(state=State.PREWARMED, kind="pytorch:2", memory_mb=512)
    assert decide(job(kind="pytorch:2", memory_mb=512), cell) == pool.TakePrewarmed(cell.id)
    assert decide(job(kind="pytorch:2", memory_mb=256), cell) == pool.StartCold()
    assert decide(job(kind="python:3", memory_mb=512), cell) == pool.StartCold()


def test_a_prewarmed_container_is_taken_even_when_the_budget_is_full() -> None:
    cell = container(state=State.PREWARMED)
    assert decide(job(), cell, container(function("g"), memory_mb=768)) == pool.TakePrewarmed(cell.id)


def test_a_cold_start_waits_for_its_turn_to_boot() -> None:
    booting = container(function("g"), state=State.STARTING)
    assert decide(job(), booting, starts_at_once=1) == pool.Wait()
    assert decide(job(), booting, starts_at_once=2) == pool.StartCold()


def test_the_longest_unused_containers_are_evicted_first_and_no_more_than_needed() -> None:
    young, old, middle = (
        container(function(name), memory_mb=256, last_used_s=age)
        for name, age in (("young", 9), ("old", 1), ("middle", 5))
    )
    wanted = job(memory_mb=512)
    assert decide(wanted, young, old, middle, budget_mb=768) == pool.Evict((old.id, middle.id))
    assert decide(wanted, young, old, middle, budget_mb=1024) == pool.Evict((old.id,))


def test_nothing_is_evicted_if_it_would_not_free_enough() -> None:
    idle = container(function("idle"))
    busy = container(function("busy"), state=State.RUNNING, memory_mb=512)
    assert decide(job(memory_mb=512), idle, busy, budget_mb=768) == pool.Wait()


def test_memory_that_is_being_freed_is_waited_for_and_not_freed_twice() -> None:
    leaving = container(function("old"), state=State.REMOVING)
    idle = container(function("idle"))
    assert decide(job(), leaving, idle, budget_mb=512) == pool.Wait()


def test_stem_cells_stay_as_long_as_the_job_can_run_beside_them() -> None:
    cell = container(state=State.PREWARMED, kind="pytorch:2")
    busy = container(function("busy"), state=State.RUNNING)
    assert decide(job(), cell, busy, budget_mb=512) == pool.Wait()


def test_stem_cells_give_way_to_a_job_that_can_not_run_beside_them() -> None:
    cell = container(state=State.PREWARMED, kind="pytorch:2")
    warm = container(function("warm"), last_used_s=99)
    assert decide(job(memory_mb=512), cell, warm, budget_mb=512) == pool.Evict((warm.id, cell.id))


def test_a_job_larger_than_the_budget_is_refused() -> None:
    assert decide(job(memory_mb=512), budget_mb=511) == pool.Refuse()
