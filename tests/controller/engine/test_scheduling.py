"""What the scheduler commands when something happens, step by step, on a simulated clock."""

from __future__ import annotations

import itertools

from worlds import function, job

from instar_controller.engines.scheduler import (
    Command,
    Fail,
    PoolSettings,
    Remove,
    Run,
    Scheduler,
    Start,
    StartKind,
    Work,
)
from instar_controller.policies.lifecycle import State
from instar_controller.policies.prewarm import StemCells
from instar_controller.policies.snapshot import ContainerId, Job
from instar_controller.whisk.activation import ActivationId

C1, C2, C3 = (ContainerId(f"c{n}") for n in (1, 2, 3))


def scheduler(
    *,
    memory_mb: int = 1024,
    stem_cells: tuple[StemCells, ...] = (),
    keep_alive_s: float = 60.0,
    starts_at_once: int = 2,
) -> Scheduler:
    numbers = itertools.count(1)
    settings = PoolSettings(
        memory_mb=memory_mb, starts_at_once=starts_at_once, keep_alive_s=keep_alive_s, stem_cells=stem_cells
    )
    return Scheduler(settings, lambda: ContainerId(f"c{next(numbers)}"))


def work(id: str, name: str = "f", *, memory_mb: int = 256) -> Work:
    return Work(ActivationId(id), job(name, memory_mb=memory_mb))


def start(id: ContainerId, memory_mb: int = 256) -> Start:
    return Start(id, "python:3", memory_mb, is_stem_cell=False)


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
    assert pool.submit(first, 0.0) == [start(C1)]
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
    cell = Start(C1, "python:3", 256, is_stem_cell=True)
    assert pool.tick(0.0) == [cell]
    assert pool.came_up(C1, 1.0) == []
    first = work("a")
    assert pool.submit(first, 2.0) == [
        Run(C1, first, StartKind.PREWARMED),
        Start(C2, "python:3", 256, is_stem_cell=True),
    ]


def test_an_evicted_container_must_have_gone_before_its_memory_is_used() -> None:
    pool = scheduler(memory_mb=256)
    make_warm(pool, C1, work("a"), 0.0)
    other = work("b", "other")
    assert pool.submit(other, 1.0) == [Remove(C1)]
    assert pool.broken(C1, 1.1) == []  # its end is noticed before its removal is reported
    assert pool.removed(C1, 1.2) == [start(C2)]


def test_an_idle_container_goes_when_its_time_is_up() -> None:
    pool = scheduler(keep_alive_s=60.0)
    make_warm(pool, C1, work("a"), 100.0)
    assert pool.wake_s() == 160.0
    assert pool.tick(159.9) == []
    assert pool.tick(160.0) == [Remove(C1)]
    assert pool.removed(C1, 160.1) == []
    assert pool.wake_s() is None


def test_a_job_that_its_dead_container_never_saw_is_first_in_the_queue_again() -> None:
    pool = scheduler(memory_mb=256)
    make_warm(pool, C1, work("a"), 0.0)
    first, second = work("b"), work("c")
    pool.submit(first, 1.0)
    pool.submit(second, 1.0)
    assert pool.put_back(C1, first, 1.1) == [Remove(C1)]
    assert pool.removed(C1, 1.2) == [start(C2)]
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
    assert pool.broken(C1, 1.0) == [Fail(first), Remove(C1)]  # the news of its end was faster
    assert pool.came_up(C1, 1.0) == [Remove(C1)]
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


def test_a_job_larger_than_the_pool_fails_and_holds_nobody_up() -> None:
    pool = scheduler(memory_mb=256)
    large, small = work("a", memory_mb=512), work("b")
    assert pool.submit(large, 0.0) == [Fail(large)]
    assert pool.submit(small, 0.0) == [start(C1)]


def test_closing_gives_up_what_waits_and_removes_everything() -> None:
    pool = scheduler(memory_mb=512)
    make_warm(pool, C1, work("a"), 0.0)
    starting, waiting, late = work("b", "g"), work("c", "h", memory_mb=512), work("d")
    pool.submit(starting, 1.0)
    pool.submit(waiting, 1.0)
    assert pool.close(2.0) == [Fail(waiting), Fail(starting), Remove(C1), Remove(C2)]
    assert pool.submit(late, 2.0) == [Fail(late)]
    assert pool.removed(C1, 2.1) == []
    assert pool.removed(C2, 2.1) == []
    assert states(pool) == {}


def test_two_namespaces_never_share_a_container() -> None:
    pool = scheduler()
    make_warm(pool, C1, work("a"), 0.0)
    foreign = Work(ActivationId("b"), Job(function(namespace="other"), "python:3", 256))
    assert pool.submit(foreign, 1.0) == [start(C2)]
    assert pool.containers[0].state is State.READY
