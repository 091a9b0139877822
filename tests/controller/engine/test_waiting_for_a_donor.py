"""A job that waits is decided again when a container becomes a donor by nothing but the passing of time."""

from __future__ import annotations

import itertools
from collections.abc import Collection

from worlds import container, function, job, offer

from instar_controller.engines.orders import Run, Start, Work
from instar_controller.engines.scheduler import PoolSettings, Scheduler
from instar_controller.policies import donors
from instar_controller.policies.donors import Sharing
from instar_controller.policies.estimates import Estimates, Way
from instar_controller.policies.idle import Patience
from instar_controller.policies.lifecycle import State
from instar_controller.policies.removal import Reason, Why
from instar_controller.policies.snapshot import ContainerId, Job
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.invocation import ContainerKey

C1, C2, C3 = (ContainerId(f"c{n}") for n in (1, 2, 3))
PLAN = offer({"from": "old"})
FAILED = Reason(Why.TRANSFORMATION_FAILED)


def estimate(wanted: Job, known: Collection[ContainerKey]) -> Estimates:
    return Estimates(warm_ms=20, cold_ms=1500, plans={donor: Way(PLAN, 30) for donor in known})


def scheduler(*, sharing: Sharing | None = None) -> Scheduler:
    """One container boots at a time."""
    numbers = itertools.count(1)
    settings = PoolSettings(starts_at_once=1, patience=Patience(10_000.0), sharing=sharing or Sharing())
    return Scheduler(settings, lambda: ContainerId(f"c{next(numbers)}"), estimate)


def work(id: str, name: str) -> Work:
    return Work(ActivationId(id), job(name))


def make_warm(pool: Scheduler, id: ContainerId, done: Work, now_s: float) -> None:
    (start,) = pool.submit(done, now_s)
    assert isinstance(start, Start) and start.container == id
    pool.came_up(id, now_s)
    pool.answered(id, now_s)
    pool.collected(id, now_s)


def wait_behind_a_boot(pool: Scheduler, now_s: float) -> Work:
    """`old` has `c1` since 0; `new` waits, since `c2` boots for somebody else."""
    make_warm(pool, C1, work("a", "old"), 0.0)
    (start,) = pool.submit(work("b", "slow to boot"), now_s)
    assert isinstance(start, Start) and start.container == C2
    waiting = work("c", "new")
    assert pool.submit(waiting, now_s) == []
    return waiting


def test_it_gets_the_donor_to_the_second() -> None:
    pool = scheduler()
    waiting = wait_behind_a_boot(pool, 50.0)
    assert pool.wake_s() == 60.0
    assert pool.tick(59.9) == []
    (run,) = pool.tick(60.0)
    assert isinstance(run, Run) and (run.container, run.work) == (C1, waiting)


def test_nobody_is_woken_for_a_donor_that_was_there_and_not_taken() -> None:
    """Else the timer would never rest."""
    pool = scheduler()
    wait_behind_a_boot(pool, 50.0)
    (run,) = pool.tick(60.0)
    assert isinstance(run, Run)
    pool.untouched(C1, run.work, 60.1)
    assert pool.waiting == 1
    assert pool.wake_s() == 10_000.0


def test_nobody_is_woken_where_nobody_waits() -> None:
    pool = scheduler()
    make_warm(pool, C1, work("a", "old"), 0.0)
    assert pool.wake_s() == 10_000.0


def test_a_function_that_is_trusted_again_is_decided_again() -> None:
    pool = scheduler(sharing=Sharing(distrust_s=100.0))
    make_warm(pool, C1, work("a", "old"), 0.0)
    make_warm(pool, C2, work("x", "other"), 0.0)
    spoiling = work("b", "new")
    (run,) = pool.submit(spoiling, 60.0)
    assert isinstance(run, Run)
    _, start = pool.spoiled(run.container, spoiling, FAILED, 60.0)
    assert isinstance(start, Start)
    waiting = work("c", "new")
    assert pool.submit(waiting, 61.0) == []  # c3 boots, and c2 is not for this function
    assert pool.wake_s() == 160.0
    (run,) = pool.tick(160.0)
    assert isinstance(run, Run) and (run.container, run.work) == (C2, waiting)


def test_only_what_may_become_a_donor_is_waited_for() -> None:
    ripe, soon, late = (container(function("g"), last_used_s=at_s) for at_s in (10.0, 50.0, 55.0))
    others = [
        container(function("g"), last_used_s=41.0, state=State.RUNNING),
        container(function("g"), last_used_s=42.0, memory_mb=512),
        container(function("g"), last_used_s=43.0, shares=False),
        container(function("g", namespace="other"), last_used_s=44.0),
        container(function(), last_used_s=45.0),
    ]
    known = [late, ripe, soon, *others]
    assert donors.next_one_s(job(), known, Sharing(), after_s=100.0) == 110.0
    assert donors.next_one_s(job(), known, Sharing(), after_s=100.0, refused_by={soon.id}) == 115.0
    assert donors.next_one_s(job(), known, Sharing(), after_s=115.0) is None
    assert donors.next_one_s(job(shares=False), known, Sharing(), after_s=100.0) is None
