"""What the scheduler commands when something happens, step by step, on a simulated clock."""

from __future__ import annotations

import itertools
from dataclasses import replace

from worlds import function, job

from instar_controller.engines.orders import Command, Fail, Pause, Remove, Run, Start, StartKind, Work
from instar_controller.engines.scheduler import PoolSettings, Scheduler
from instar_controller.policies.idle import Patience
from instar_controller.policies.lifecycle import State
from instar_controller.policies.prewarm import StemCells
from instar_controller.policies.removal import Reason, Why
from instar_controller.policies.snapshot import ContainerId, Job
from instar_controller.whisk.activation import ActivationId

C1, C2, C3 = (ContainerId(f"c{n}") for n in (1, 2, 3))
ENDED = Reason(Why.ENDED)


def scheduler(
    *,
    memory_mb: int = 1024,
    stem_cells: tuple[StemCells, ...] = (),
    keep_alive_s: float = 60.0,
    pause_grace_s: float | None = None,
    starts_at_once: int = 2,
) -> Scheduler:
    numbers = itertools.count(1)
    settings = PoolSettings(
        memory_mb=memory_mb,
        starts_at_once=starts_at_once,
        patience=Patience(keep_alive_s, pause_grace_s),
        stem_cells=stem_cells,
    )
    return Scheduler(settings, lambda: ContainerId(f"c{next(numbers)}"))


def work(id: str, name: str = "f", *, memory_mb: int = 256) -> Work:
    return Work(ActivationId(id), job(name, memory_mb=memory_mb))


def start(id: ContainerId, work: Work) -> Start:
    return Start(id, "python:3", work.job.memory_mb, work)


def cell(id: ContainerId, memory_mb: int = 256) -> Start:
    return Start(id, "python:3", memory_mb, work=None)


def make_warm(pool: Scheduler, id: ContainerId, done: Work, now_s: float) -> list[Command]:
    pool.submit(done, now_s)
    pool.came_up(id, now_s)
    pool.answered(id, now_s)
    return pool.collected(id, now_s)


def states(pool: Scheduler) -> dict[str, str]:
    return {container.id: container.state.value for container in pool.containers}


def test_a_cold_start_takes_its_container_when_it_is_up() -> None:
    pool = scheduler()
    first = work("a")
    assert pool.submit(first, 0.0) == [start(C1, first)]
    assert pool.came_up(C1, 0.8) == [Run(C1, first, StartKind.COLD, boot_ms=800)]
    assert states(pool) == {"c1": "running"}


def test_the_next_job_of_the_same_function_finds_the_container_warm() -> None:
    pool = scheduler()
    make_warm(pool, C1, work("a"), 0.0)
    second = work("b")
    assert pool.submit(second, 1.0) == [Run(C1, second, StartKind.WARM)]


def test_a_job_waits_for_the_log_of_the_one_before_and_starts_nothing() -> None:
    pool = scheduler()
    pool.submit(work("a"), 0.0)
    pool.came_up(C1, 0.0)
    pool.answered(C1, 0.1)
    second = work("b")
    assert pool.submit(second, 0.1) == []
    assert pool.collected(C1, 0.2) == [Run(C1, second, StartKind.WARM)]


def test_a_job_behind_the_head_waits_even_if_it_would_fit() -> None:
    pool = scheduler(memory_mb=512)
    pool.submit(work("a"), 0.0)
    pool.came_up(C1, 0.0)
    large, small = work("b", "large", memory_mb=512), work("c", "small")
    assert pool.submit(large, 1.0) == []
    assert pool.submit(small, 1.0) == []
    assert pool.waiting == 2


def test_a_taken_stem_cell_is_replaced() -> None:
    pool = scheduler(stem_cells=(StemCells("python:3", 256, 1),))
    assert pool.tick(0.0) == [cell(C1)]
    assert pool.came_up(C1, 1.0) == []
    first = work("a")
    assert pool.submit(first, 2.0) == [
        Run(C1, first, StartKind.PREWARMED),
        cell(C2),
    ]


def test_an_evicted_container_must_have_gone_before_its_memory_is_used() -> None:
    pool = scheduler(memory_mb=256)
    make_warm(pool, C1, work("a"), 0.0)
    other = work("b", "other")
    assert pool.submit(other, 1.0) == [Remove(C1, Reason(Why.EVICTED, "guest/other needs 256 MB"))]
    assert pool.broken(C1, ENDED, 1.1) == []  # its end is noticed before its removal is reported
    assert pool.removed(C1, 1.2) == [start(C2, other)]


def test_an_idle_container_goes_when_its_time_is_up() -> None:
    pool = scheduler(keep_alive_s=60.0)
    make_warm(pool, C1, work("a"), 100.0)
    assert pool.wake_s() == 160.0
    assert pool.tick(159.9) == []
    assert pool.tick(160.0) == [Remove(C1, Reason(Why.IDLE, "unused for 60 s"))]
    assert pool.removed(C1, 160.1) == []
    assert pool.wake_s() is None


def test_a_job_that_its_dead_container_never_saw_is_first_in_the_queue_again() -> None:
    pool = scheduler(memory_mb=256)
    make_warm(pool, C1, work("a"), 0.0)
    first, second = work("b"), work("c")
    pool.submit(first, 1.0)
    pool.submit(second, 1.0)
    refused = Reason(Why.UNREACHABLE, "connection refused")
    assert pool.put_back(C1, first, refused, 1.1) == [Remove(C1, refused)]
    assert pool.removed(C1, 1.2) == [start(C2, replace(first, is_second_try=True))]
    (run, *_) = pool.came_up(C2, 2.0)
    assert isinstance(run, Run)
    assert run.work == Work(first.id, first.job, is_second_try=True)


def test_a_job_whose_container_does_not_start_fails() -> None:
    pool = scheduler()
    first = work("a")
    pool.submit(first, 0.0)
    assert pool.start_failed(C1, 1.0) == [Fail(first)]
    assert states(pool) == {}


def test_a_container_that_dies_as_it_comes_up_fails_its_job_once() -> None:
    pool = scheduler()
    first = work("a")
    pool.submit(first, 0.0)
    assert pool.broken(C1, ENDED, 1.0) == [Fail(first), Remove(C1, ENDED)]  # the news of its end was faster
    assert pool.came_up(C1, 1.0) == [Remove(C1, Reason(Why.CLOSING))]
    assert pool.removed(C1, 1.1) == []
    assert pool.removed(C1, 1.2) == []


def test_stem_cells_that_do_not_start_are_tried_again_later_and_later() -> None:
    pool = scheduler(stem_cells=(StemCells("python:3", 256, 1),))
    pool.tick(0.0)
    now_s, pauses = 0.0, []
    for id in (C1, C2, C3):
        assert pool.start_failed(id, now_s) == []
        wake_s = pool.wake_s()
        assert wake_s is not None
        assert pool.tick(wake_s - 0.1) == []
        assert len(pool.tick(wake_s)) == 1
        pauses.append(wake_s - now_s)
        now_s = wake_s
    assert pauses == [1.0, 2.0, 4.0]


def test_stem_cells_of_one_kind_that_do_not_start_hold_up_no_others() -> None:
    pool = scheduler(stem_cells=(StemCells("no:1", 256, 1), StemCells("python:3", 256, 1)))
    assert pool.tick(0.0) == [Start(C1, "no:1", 256, work=None)]
    assert pool.start_failed(C1, 0.1) == [cell(C2)]
    pool.came_up(C2, 1.0)
    assert pool.wake_s() == 1.1
    assert pool.tick(1.1) == [Start(C3, "no:1", 256, work=None)]


def test_a_job_larger_than_the_pool_fails_and_holds_nobody_up() -> None:
    pool = scheduler(memory_mb=256)
    large, small = work("a", memory_mb=512), work("b")
    assert pool.submit(large, 0.0) == [Fail(large)]
    assert pool.submit(small, 0.0) == [start(C1, small)]


def test_closing_gives_up_what_waits_and_removes_everything() -> None:
    pool = scheduler(memory_mb=512)
    make_warm(pool, C1, work("a"), 0.0)
    starting, waiting, late = work("b", "g"), work("c", "h", memory_mb=512), work("d")
    pool.submit(starting, 1.0)
    pool.submit(waiting, 1.0)
    closing = Reason(Why.CLOSING)
    assert pool.close(2.0) == [Fail(waiting), Fail(starting), Remove(C1, closing), Remove(C2, closing)]
    assert pool.submit(late, 2.0) == [Fail(late)]
    assert pool.removed(C1, 2.1) == []
    assert pool.removed(C2, 2.1) == []
    assert states(pool) == {}


def test_two_namespaces_never_share_a_container() -> None:
    pool = scheduler()
    make_warm(pool, C1, work("a"), 0.0)
    foreign = Work(ActivationId("b"), Job(function(namespace="other"), "python:3", 256))
    assert pool.submit(foreign, 1.0) == [start(C2, foreign)]
    assert pool.containers[0].state is State.READY


def make_sleep(pool: Scheduler, id: ContainerId, now_s: float) -> None:
    assert pool.tick(now_s) == [Pause(id, "python:3")]
    assert pool.paused(id, now_s) == []


def test_an_idle_container_is_paused_when_its_grace_is_over() -> None:
    pool = scheduler(pause_grace_s=10.0)
    make_warm(pool, C1, work("a"), 100.0)
    assert pool.wake_s() == 110.0
    assert pool.tick(109.9) == []
    assert pool.tick(110.0) == [Pause(C1, "python:3")]
    assert states(pool) == {"c1": "pausing"}
    assert pool.wake_s() is None
    pool.paused(C1, 110.1)
    assert states(pool) == {"c1": "paused"}


def test_sleep_makes_a_container_no_younger() -> None:
    pool = scheduler(keep_alive_s=60.0, pause_grace_s=10.0)
    make_warm(pool, C1, work("a"), 100.0)
    make_sleep(pool, C1, 130.0)
    assert pool.wake_s() == 160.0
    assert pool.tick(160.0) == [Remove(C1, Reason(Why.IDLE, "unused for 60 s"))]


def test_the_next_job_wakes_the_container_that_sleeps() -> None:
    pool = scheduler(pause_grace_s=10.0)
    make_warm(pool, C1, work("a"), 0.0)
    make_sleep(pool, C1, 10.0)
    second = work("b")
    assert pool.submit(second, 20.0) == [Run(C1, second, StartKind.WARM, is_paused=True)]
    pool.answered(C1, 20.1)
    pool.collected(C1, 20.1)
    assert pool.submit(work("c"), 20.2) == [Run(C1, work("c"), StartKind.WARM)]


def test_a_job_waits_for_a_container_that_falls_asleep_and_starts_nothing() -> None:
    pool = scheduler(pause_grace_s=10.0)
    make_warm(pool, C1, work("a"), 0.0)
    pool.tick(10.0)
    second = work("b")
    assert pool.submit(second, 10.0) == []
    assert pool.paused(C1, 10.1) == [Run(C1, second, StartKind.WARM, is_paused=True)]


def test_a_job_that_could_not_wake_its_container_runs_in_another() -> None:
    pool = scheduler(pause_grace_s=10.0)
    make_warm(pool, C1, work("a"), 0.0)
    make_sleep(pool, C1, 10.0)
    second = work("b")
    pool.submit(second, 20.0)
    asleep = Reason(Why.RESUME_FAILED, "no such container")
    assert pool.put_back(C1, second, asleep, 20.1) == [
        Remove(C1, asleep),
        start(C2, replace(second, is_second_try=True)),
    ]


def test_a_container_that_cannot_be_paused_goes_and_a_waiting_job_gets_another() -> None:
    pool = scheduler(memory_mb=256, pause_grace_s=10.0)
    make_warm(pool, C1, work("a"), 0.0)
    pool.tick(10.0)
    second = work("b")
    pool.submit(second, 10.0)
    stuck = Reason(Why.PAUSE_FAILED, "timed out")
    assert pool.broken(C1, stuck, 10.1) == [Remove(C1, stuck)]
    assert pool.removed(C1, 10.2) == [start(C2, second)]


def test_a_container_that_sleeps_is_evicted_like_one_that_is_awake() -> None:
    pool = scheduler(memory_mb=256, pause_grace_s=10.0)
    make_warm(pool, C1, work("a"), 0.0)
    make_sleep(pool, C1, 10.0)
    (remove,) = pool.submit(work("b", "other"), 20.0)
    assert isinstance(remove, Remove)
    assert (remove.container, remove.reason.why) == (C1, Why.EVICTED)


def test_a_container_whose_both_times_are_up_goes_without_being_paused() -> None:
    pool = scheduler(keep_alive_s=5.0, pause_grace_s=5.0)
    make_warm(pool, C1, work("a"), 0.0)
    assert pool.tick(5.0) == [Remove(C1, Reason(Why.IDLE, "unused for 5 s"))]
