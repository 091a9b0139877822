"""The scheduler under random traffic, with containers that boot, answer, fall asleep, fail, die and leave in any
order, become other functions, refuse to or are lost to it.

Invariants: the memory of all containers never exceeds the budget; a container never has two jobs; a job runs
only in a container of its own function, kind and memory, or in a donor of its kind and memory that was idle for
long enough, shares, and has not refused this very job, and is told to wake it exactly if it sleeps; nothing
is asked of a container that is being put to sleep or transformed; no more boot at once than allowed; nothing
is removed that is not to be removed, nor twice; what waited for time to pass does not wait for the same moment
again; and when everything under way has come to its end, every job has come out exactly once and nobody waits.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Collection

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from worlds import function, offer

from instar_controller.engines.orders import Command, Fail, Pause, Remove, Run, Start, Work
from instar_controller.engines.scheduler import PoolSettings, Scheduler
from instar_controller.policies import idle, pool
from instar_controller.policies.donors import Sharing
from instar_controller.policies.estimates import Estimates, Way
from instar_controller.policies.idle import Patience
from instar_controller.policies.lifecycle import State
from instar_controller.policies.prewarm import StemCells
from instar_controller.policies.removal import Reason, Why
from instar_controller.policies.snapshot import ContainerId, Job
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.invocation import ContainerKey

BUDGET_MB = 1024
MEMORIES_MB = (128, 256, 512, 1024)
KINDS = ("python:3", "pytorch:2")
PRIVATE = "c"  # the function that shares nothing

memories = st.sampled_from(MEMORIES_MB)
kinds = st.sampled_from(KINDS)
times_ms = st.sampled_from([None, 10.0, 100.0, 1000.0])


def is_private(key: ContainerKey | None) -> bool:
    return key is not None and key.action.startswith(f"guest/{PRIVATE}-")


class Traffic(RuleBasedStateMachine):
    @initialize(
        cells=st.lists(st.tuples(kinds, memories), max_size=3, unique=True),
        at_once=st.integers(1, 3),
        pause_grace_s=st.sampled_from([None, 0.0, 2.0, 7.0]),
        threshold_s=st.sampled_from([0.0, 1.0, 3.0]),
        times=st.tuples(times_ms, times_ms, times_ms, times_ms, times_ms),
    )
    def begin(
        self,
        cells: list[tuple[str, int]],
        at_once: int,
        pause_grace_s: float | None,
        threshold_s: float,
        times: tuple[float | None, ...],
    ) -> None:
        warm_ms, prewarmed_ms, cold_ms, reload_ms, plan_ms = times

        def estimate(job: Job, donors: Collection[ContainerKey]) -> Estimates:
            plans = {} if plan_ms is None else {donor: Way(offer({}), plan_ms) for donor in donors}
            return Estimates(warm_ms, prewarmed_ms, cold_ms, reload_ms, plans, wake_ms=1.0)

        self.threshold_s = threshold_s
        numbers = itertools.count(1)
        self.ids = itertools.count(1)
        self.at_once = at_once
        self.scheduler = Scheduler(
            PoolSettings(
                memory_mb=BUDGET_MB,
                starts_at_once=at_once,
                patience=Patience(5.0, pause_grace_s),
                sharing=Sharing(idle_threshold_s=threshold_s, distrust_s=3.0),
                stem_cells=tuple(StemCells(kind, memory_mb, 1) for kind, memory_mb in cells),
            ),
            lambda: ContainerId(f"c{next(numbers)}"),
            estimate,
        )
        self.now_s = 0.0
        self.starting: list[Start] = []
        self.running: list[Run] = []
        self.transforming: list[Run] = []
        self.collecting: list[ContainerId] = []
        self.pausing: list[ContainerId] = []
        self.asleep: set[ContainerId] = set()
        self.removing: list[ContainerId] = []
        self.submitted: list[ActivationId] = []
        self.completed: Counter[ActivationId] = Counter()
        self.obey(self.scheduler.tick(self.now_s))

    def obey(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case Start():
                    self.starting.append(command)
                case Run(id, work):
                    assert id not in [run.container for run in (*self.running, *self.transforming)]
                    assert id not in self.collecting
                    assert id not in self.pausing
                    assert command.is_paused == (id in self.asleep)
                    self.asleep.discard(id)
                    taken = next(c for c in self.scheduler.containers if c.id == id)
                    wanted = work.job
                    assert (taken.kind, taken.memory_mb) == (wanted.kind, wanted.memory_mb)
                    if command.transformation is None:
                        assert taken.key == wanted.key
                        self.running.append(command)
                        continue
                    assert taken.key == command.transformation.source != wanted.key
                    assert taken.state is State.TRANSFORMING
                    assert taken.last_used_s + self.threshold_s <= self.now_s
                    assert not is_private(taken.key) and not is_private(wanted.key)
                    assert id not in work.refused_by
                    self.transforming.append(command)
                case Pause(id):
                    assert id not in [run.container for run in (*self.running, *self.transforming)]
                    assert id not in (*self.collecting, *self.pausing, *self.removing, *self.asleep)
                    self.pausing.append(id)
                case Remove(id, reason):
                    assert id not in self.removing
                    assert id not in self.pausing or reason.why in (Why.ENDED, Why.PAUSE_FAILED)
                    self.removing.append(id)
                case Fail(work):
                    self.completed[work.id] += 1

    @rule(name=st.sampled_from("abc"), kind=kinds, memory_mb=memories)
    def submit(self, name: str, kind: str, memory_mb: int) -> None:
        id = ActivationId(str(next(self.ids)))
        self.submitted.append(id)
        work = Work(id, Job(function(f"{name}-{kind}-{memory_mb}"), kind, memory_mb, name != PRIVATE))
        self.obey(self.scheduler.submit(work, self.now_s))

    @precondition(lambda self: self.starting)
    @rule(data=st.data(), comes_up=st.booleans())
    def boot(self, data: st.DataObject, comes_up: bool) -> None:
        start = self.starting.pop(data.draw(st.integers(0, len(self.starting) - 1)))
        report = self.scheduler.came_up if comes_up else self.scheduler.start_failed
        self.obey(report(start.container, self.now_s))

    @precondition(lambda self: self.running)
    @rule(data=st.data(), how=st.sampled_from(["answered", "broken", "put back"]))
    def end_of_run(self, data: st.DataObject, how: str) -> None:
        run = self.running.pop(data.draw(st.integers(0, len(self.running) - 1)))
        if how == "put back" and run.transformation is None and not run.work.is_second_try:
            reason = Reason(Why.RESUME_FAILED if run.is_paused else Why.UNREACHABLE)
            self.obey(self.scheduler.put_back(run.container, run.work, reason, self.now_s))
            return
        self.completed[run.work.id] += 1
        if how == "answered":
            self.collecting.append(run.container)
            self.obey(self.scheduler.answered(run.container, self.now_s))
        else:
            self.obey(self.scheduler.broken(run.container, Reason(Why.RUN_FAILED), self.now_s))

    @precondition(lambda self: self.transforming)
    @rule(data=st.data(), how=st.sampled_from(["transformed", "untouched", "lost", "spoiled"]))
    def end_of_transformation(self, data: st.DataObject, how: str) -> None:
        run = self.transforming.pop(data.draw(st.integers(0, len(self.transforming) - 1)))
        match how:
            case "transformed":
                self.running.append(run)
                self.obey(self.scheduler.transformed(run.container, run.work, self.now_s))
            case "untouched":
                self.obey(self.scheduler.untouched(run.container, run.work, self.now_s))
            case "lost":
                reason = Reason(Why.RESUME_FAILED if run.is_paused else Why.UNREACHABLE)
                self.obey(self.scheduler.donor_lost(run.container, run.work, reason, self.now_s))
            case _:
                reason = Reason(Why.TRANSFORMATION_FAILED)
                self.obey(self.scheduler.spoiled(run.container, run.work, reason, self.now_s))

    @precondition(lambda self: self.collecting)
    @rule(data=st.data())
    def collect(self, data: st.DataObject) -> None:
        id = self.collecting.pop(data.draw(st.integers(0, len(self.collecting) - 1)))
        self.obey(self.scheduler.collected(id, self.now_s))

    @precondition(lambda self: self.pausing)
    @rule(data=st.data(), sleeps=st.booleans())
    def fall_asleep(self, data: st.DataObject, sleeps: bool) -> None:
        id = self.pausing.pop(data.draw(st.integers(0, len(self.pausing) - 1)))
        if sleeps:
            self.asleep.add(id)
            self.obey(self.scheduler.paused(id, self.now_s))
        else:
            self.obey(self.scheduler.broken(id, Reason(Why.PAUSE_FAILED), self.now_s))

    @precondition(lambda self: self.removing)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        id = self.removing.pop(data.draw(st.integers(0, len(self.removing) - 1)))
        self.obey(self.scheduler.removed(id, self.now_s))

    @precondition(lambda self: self.scheduler.containers)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        victim = data.draw(st.sampled_from(self.scheduler.containers))
        if victim.state is not State.STARTING:  # one that boots dies by not coming up
            self.obey(self.scheduler.broken(victim.id, Reason(Why.ENDED), self.now_s))

    @rule(seconds=st.integers(1, 4))
    def grow_old(self, seconds: int) -> None:
        self.now_s += seconds
        self.obey(self.scheduler.tick(self.now_s))
        wake_s = self.scheduler.wake_s()
        assert wake_s is None or wake_s > self.now_s

    @invariant()
    def the_budget_holds(self) -> None:
        assert pool.memory_in_use_mb(self.scheduler.containers) <= BUDGET_MB

    @invariant()
    def the_roster_says_what_a_look_through_all_containers_says(self) -> None:
        roster, containers = self.scheduler._containers, self.scheduler.containers
        for key in {c.key for c in containers if c.key is not None}:
            ready = [c for c in containers if c.key == key and c.state is State.READY]
            assert sorted(roster.ready(key), key=lambda c: c.id) == sorted(ready, key=lambda c: c.id)
        for kind, memory_mb in {(c.kind, c.memory_mb) for c in containers}:
            standing = [c for c in containers if c.is_stem_cell and (c.kind, c.memory_mb) == (kind, memory_mb)]
            assert roster.stem_cells(kind, memory_mb) == len(standing)

    @invariant()
    def nobody_wakes_too_late(self) -> None:
        """The early time that is told without looking at every container is no later than the exact one."""
        early_s = self.scheduler.wake_not_before_s()
        exact_s = idle.next_step_s(self.scheduler.containers, self.scheduler._settings.patience)
        assert exact_s is None or (early_s is not None and early_s <= exact_s)

    @invariant()
    def boots_are_bounded(self) -> None:
        assert sum(c.state is State.STARTING for c in self.scheduler.containers) <= self.at_once

    @invariant()
    def no_job_comes_out_twice(self) -> None:
        assert all(count == 1 for count in self.completed.values())

    def teardown(self) -> None:
        while self.starting or self.transforming or self.running or self.collecting or self.pausing or self.removing:
            for start in self.starting[:1]:
                self.starting.remove(start)
                self.obey(self.scheduler.came_up(start.container, self.now_s))
            for run in self.transforming[:1]:
                self.transforming.remove(run)
                self.running.append(run)
                self.obey(self.scheduler.transformed(run.container, run.work, self.now_s))
            for run in self.running[:1]:
                self.running.remove(run)
                self.completed[run.work.id] += 1
                self.collecting.append(run.container)
                self.obey(self.scheduler.answered(run.container, self.now_s))
            for id in self.collecting[:1]:
                self.collecting.remove(id)
                self.obey(self.scheduler.collected(id, self.now_s))
            for id in self.pausing[:1]:
                self.pausing.remove(id)
                self.asleep.add(id)
                self.obey(self.scheduler.paused(id, self.now_s))
            for id in self.removing[:1]:
                self.removing.remove(id)
                self.obey(self.scheduler.removed(id, self.now_s))
        assert self.scheduler.waiting == 0
        assert sorted(self.completed) == sorted(self.submitted)
        self.no_job_comes_out_twice()


Traffic.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
test_the_pool_keeps_its_promises = Traffic.TestCase
