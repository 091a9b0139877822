"""How a donor is claimed, becomes another function, or does not: step by step, on a simulated clock."""

from __future__ import annotations

import itertools
from collections.abc import Collection
from dataclasses import replace

import pytest
from worlds import function, job, offer

from instar_controller.engines.orders import Command, Fail, Pause, Remove, Run, Start, StartKind, Transformation, Work
from instar_controller.engines.scheduler import PoolSettings, Scheduler
from instar_controller.errors import IllegalTransitionError
from instar_controller.policies.donors import Sharing
from instar_controller.policies.estimates import Estimates, Way
from instar_controller.policies.idle import Patience
from instar_controller.policies.prewarm import StemCells
from instar_controller.policies.removal import Reason, Why
from instar_controller.policies.snapshot import ContainerId, Job
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.invocation import ContainerKey

C1, C2, C3 = (ContainerId(f"c{n}") for n in (1, 2, 3))
PLAN = offer({"from": "old"})
FAILED = Reason(Why.TRANSFORMATION_FAILED, "guest/new, activation b")
GONE = Reason(Why.UNREACHABLE, "connection refused")
ENDED = Reason(Why.ENDED)


def estimate(wanted: Job, donors: Collection[ContainerKey]) -> Estimates:
    """Any donor becomes any function within 30 ms."""
    plans = {donor: Way(PLAN, 30) for donor in donors}
    return Estimates(warm_ms=20, prewarmed_ms=200, cold_ms=1500, plans=plans, wake_ms=0)


def scheduler(
    *,
    memory_mb: int = 1024,
    keep_alive_s: float = 600.0,
    pause_grace_s: float | None = None,
    sharing: Sharing | None = None,
) -> Scheduler:
    numbers = itertools.count(1)
    patience = Patience(keep_alive_s, pause_grace_s)
    settings = PoolSettings(memory_mb=memory_mb, patience=patience, sharing=sharing or Sharing())
    return Scheduler(settings, lambda: ContainerId(f"c{next(numbers)}"), estimate)


def work(id: str, name: str) -> Work:
    return Work(ActivationId(id), job(name))


def make_warm(pool: Scheduler, id: ContainerId, done: Work, now_s: float) -> None:
    (start,) = pool.submit(done, now_s)
    assert isinstance(start, Start) and start.container == id
    pool.came_up(id, now_s)
    pool.answered(id, now_s)
    pool.collected(id, now_s)


def transforming(id: ContainerId, work: Work, source: str = "old", *, is_paused: bool = False) -> Run:
    made = Transformation(function(source), PLAN, 30)
    return Run(id, work, StartKind.TRANSFORMED, is_paused=is_paused, transformation=made)


def start(id: ContainerId, work: Work) -> Start:
    return Start(id, "python:3", 256, work)


def states(pool: Scheduler) -> dict[str, str]:
    return {container.id: container.state.value for container in pool.containers}


NEW = work("b", "new")


def claimed(pool: Scheduler, *, at_s: float = 60.0) -> None:
    """`c1` is being made into `new` out of `old`, which was last used at 0."""
    make_warm(pool, C1, work("a", "old"), 0.0)
    assert pool.submit(NEW, at_s) == [transforming(C1, NEW)]


def test_a_container_idle_for_a_minute_becomes_the_function_that_needs_one() -> None:
    pool = scheduler()
    claimed(pool)
    assert states(pool) == {"c1": "transforming"}
    assert pool.transformed(C1, NEW, 60.1) == []
    assert states(pool) == {"c1": "running"}
    assert pool.containers[0].key == function("new")


def test_a_container_idle_for_less_is_left_to_its_function() -> None:
    pool = scheduler()
    make_warm(pool, C1, work("a", "old"), 0.0)
    assert pool.submit(NEW, 59.9) == [start(C2, NEW)]


def test_the_new_function_finds_the_container_warm_afterwards() -> None:
    pool = scheduler()
    claimed(pool)
    pool.transformed(C1, NEW, 60.1)
    pool.answered(C1, 60.2)
    pool.collected(C1, 60.2)
    again = work("c", "new")
    assert pool.submit(again, 61.0) == [Run(C1, again, StartKind.WARM)]


def test_a_transformed_container_is_as_young_as_its_new_function() -> None:
    pool = scheduler()
    claimed(pool)
    pool.transformed(C1, NEW, 60.1)
    pool.answered(C1, 61.0)
    pool.collected(C1, 61.0)
    other = work("c", "third")
    assert pool.submit(other, 120.9) == [start(C2, other)]


def test_a_donor_is_never_taken_twice() -> None:
    pool = scheduler()
    claimed(pool)
    second = work("c", "another")
    assert pool.submit(second, 60.0) == [start(C2, second)]


def test_a_donor_that_became_another_function_is_not_claimed_for_a_second_one() -> None:
    pool = scheduler()
    claimed(pool)
    pool.transformed(C1, NEW, 60.1)
    with pytest.raises(IllegalTransitionError, match="running cannot be transformed"):
        pool.transformed(C1, NEW, 60.2)


def test_two_jobs_of_one_function_take_two_donors() -> None:
    pool = scheduler()
    make_warm(pool, C1, work("a", "old"), 0.0)
    make_warm(pool, C2, work("b", "other"), 1.0)
    first, second = work("c", "new"), work("d", "new")
    assert pool.submit(first, 100.0) == [transforming(C1, first)]
    assert pool.submit(second, 100.0) == [transforming(C2, second, "other")]


def test_the_donors_own_function_called_meanwhile_gets_the_next_best() -> None:
    pool = scheduler()
    claimed(pool)
    own = work("c", "old")
    assert pool.submit(own, 60.0) == [start(C2, own)]


def test_the_donors_own_function_called_meanwhile_may_itself_get_a_donor() -> None:
    pool = scheduler()
    make_warm(pool, C1, work("a", "old"), 0.0)
    make_warm(pool, C2, work("b", "other"), 1.0)
    pool.submit(NEW, 100.0)
    own = work("c", "old")
    assert pool.submit(own, 100.0) == [transforming(C2, own, "other")]


def test_an_untouched_donor_is_its_own_functions_again() -> None:
    pool = scheduler()
    claimed(pool)
    pool.untouched(C1, NEW, 60.1)
    own = work("c", "old")
    assert pool.submit(own, 60.2) == [Run(C1, own, StartKind.WARM)]


def test_a_job_that_its_donor_refused_is_decided_again_without_that_donor() -> None:
    pool = scheduler()
    make_warm(pool, C1, work("a", "old"), 0.0)
    make_warm(pool, C2, work("x", "other"), 1.0)
    assert pool.submit(NEW, 100.0) == [transforming(C1, NEW)]
    once = replace(NEW, refused_by=frozenset({C1}))
    assert pool.untouched(C1, NEW, 100.1) == [transforming(C2, once, "other")]
    twice = replace(NEW, refused_by=frozenset({C1, C2}))
    assert pool.untouched(C2, once, 100.2) == [start(C3, twice)]


def test_another_job_may_be_luckier_with_a_donor_that_refused_one() -> None:
    pool = scheduler()
    claimed(pool)
    pool.untouched(C1, NEW, 60.1)
    another = work("c", "another")
    assert pool.submit(another, 60.2) == [transforming(C1, another)]


def test_a_refused_claim_makes_a_donor_no_younger() -> None:
    pool = scheduler(keep_alive_s=100.0)
    claimed(pool)
    assert pool.wake_s() is None  # it does not grow old while something is done with it
    pool.untouched(C1, NEW, 60.1)
    assert pool.wake_s() == 100.0
    assert pool.tick(100.0) == [Remove(C1, Reason(Why.IDLE, "unused for 100 s"))]


def test_a_donor_that_slept_is_woken_and_put_to_sleep_again_if_untouched() -> None:
    pool = scheduler(pause_grace_s=10.0)
    make_warm(pool, C1, work("a", "old"), 0.0)
    assert pool.tick(10.0) == [Pause(C1, "python:3")]
    pool.paused(C1, 10.0)
    assert pool.submit(NEW, 60.0) == [transforming(C1, NEW, is_paused=True)]
    pool.untouched(C1, NEW, 60.1)
    assert pool.tick(60.2) == [Pause(C1, "python:3")]


def test_a_donor_that_is_spoiled_goes_and_its_job_gets_the_next_best() -> None:
    pool = scheduler()
    claimed(pool)
    assert pool.spoiled(C1, NEW, FAILED, 60.1) == [Remove(C1, FAILED), start(C2, NEW)]
    assert states(pool) == {"c1": "removing", "c2": "starting"}


def test_a_function_that_spoiled_a_donor_costs_no_other_its_container_for_a_while() -> None:
    pool = scheduler(keep_alive_s=10_000.0, sharing=Sharing(distrust_s=600.0))
    make_warm(pool, C1, work("a", "old"), 0.0)
    make_warm(pool, C2, work("x", "other"), 1.0)
    pool.submit(NEW, 100.0)
    assert pool.spoiled(C1, NEW, FAILED, 100.0) == [Remove(C1, FAILED), start(C3, NEW)]
    pool.start_failed(C3, 101.0)
    (later,) = pool.submit(work("c", "new"), 699.9)
    assert isinstance(later, Start)
    pool.start_failed(later.container, 700.0)
    trusted = work("d", "new")
    assert pool.submit(trusted, 700.0) == [transforming(C2, trusted, "other")]


def test_others_get_donors_while_one_function_is_distrusted() -> None:
    pool = scheduler()
    make_warm(pool, C1, work("a", "old"), 0.0)
    make_warm(pool, C2, work("x", "other"), 1.0)
    pool.submit(NEW, 100.0)
    pool.spoiled(C1, NEW, FAILED, 100.0)
    innocent = work("c", "innocent")
    assert pool.submit(innocent, 100.1) == [transforming(C2, innocent, "other")]


def test_a_dead_donor_is_nobodys_fault_and_the_next_one_is_taken() -> None:
    pool = scheduler()
    make_warm(pool, C1, work("a", "old"), 0.0)
    make_warm(pool, C2, work("x", "other"), 1.0)
    pool.submit(NEW, 100.0)
    assert pool.donor_lost(C1, NEW, GONE, 100.0) == [Remove(C1, GONE), transforming(C2, NEW, "other")]


def test_a_dead_donor_leaves_the_job_its_second_try() -> None:
    pool = scheduler()
    claimed(pool)
    (_, cold) = pool.donor_lost(C1, NEW, GONE, 60.0)
    assert isinstance(cold, Start) and cold.work == NEW and not NEW.is_second_try


def test_a_donor_that_dies_under_its_transformation_is_removed_once_and_its_job_goes_on() -> None:
    pool = scheduler()
    claimed(pool)
    assert pool.broken(C1, ENDED, 60.1) == [Remove(C1, ENDED)]  # the news of its end was faster
    assert pool.spoiled(C1, NEW, FAILED, 60.2) == [start(C2, NEW)]


def test_a_donor_that_dies_after_its_transformation_stays_on_its_way_out() -> None:
    pool = scheduler()
    claimed(pool)
    pool.broken(C1, ENDED, 60.1)
    assert pool.transformed(C1, NEW, 60.2) == []
    assert states(pool) == {"c1": "removing"}


def test_a_job_that_lost_its_donor_is_first_in_the_queue_again() -> None:
    pool = scheduler(memory_mb=256)
    claimed(pool)
    behind = work("c", "behind")
    assert pool.submit(behind, 60.0) == []
    assert pool.spoiled(C1, NEW, FAILED, 60.1) == [Remove(C1, FAILED)]
    assert pool.removed(C1, 60.2) == [start(C2, NEW)]


def test_a_donor_being_transformed_is_neither_evicted_nor_expired_nor_paused() -> None:
    pool = scheduler(memory_mb=256, keep_alive_s=70.0, pause_grace_s=65.0)
    claimed(pool)
    assert pool.submit(work("c", "large"), 60.0) == []
    assert pool.tick(1000.0) == []


@pytest.mark.parametrize("outcome", ["untouched", "donor_lost", "spoiled"])
def test_a_job_that_loses_its_donor_while_everything_closes_fails_once(outcome: str) -> None:
    pool = scheduler()
    claimed(pool)
    assert pool.close(60.1) == [Remove(C1, Reason(Why.CLOSING))]
    commands: list[Command]
    match outcome:
        case "untouched":
            commands = pool.untouched(C1, NEW, 60.2)
        case "donor_lost":
            commands = pool.donor_lost(C1, NEW, GONE, 60.2)
        case _:
            commands = pool.spoiled(C1, NEW, FAILED, 60.2)
    (failed,) = commands
    assert isinstance(failed, Fail) and failed.work.id == NEW.id


def test_the_container_of_who_shares_nothing_is_no_donor() -> None:
    pool = scheduler()
    private = Work(ActivationId("a"), job("private", shares=False))
    make_warm(pool, C1, private, 0.0)
    assert pool.submit(NEW, 100.0) == [start(C2, NEW)]


def test_who_shares_nothing_gets_no_donor() -> None:
    pool = scheduler()
    make_warm(pool, C1, work("a", "old"), 0.0)
    private = Work(ActivationId("b"), job("private", shares=False))
    assert pool.submit(private, 100.0) == [start(C2, private)]


def test_a_stem_cell_that_was_taken_by_who_shares_nothing_is_no_donor() -> None:
    numbers = itertools.count(1)
    settings = PoolSettings(memory_mb=512, stem_cells=(StemCells("python:3", 256, 1),))
    pool = Scheduler(settings, lambda: ContainerId(f"c{next(numbers)}"), estimate)
    pool.tick(0.0)
    pool.came_up(C1, 0.0)
    private = Work(ActivationId("a"), job("private", shares=False))
    (run, *_) = pool.submit(private, 1.0)
    assert run == Run(C1, private, StartKind.PREWARMED)
    pool.answered(C1, 1.0)
    pool.collected(C1, 1.0)
    pool.start_failed(C2, 1.0)
    assert pool.submit(NEW, 100.0) == [start(C3, NEW)]
