"""The pool's promises under random traffic, with containers that boot, answer, die and leave in any order.

Invariants: the budget is never exceeded; a busy container is never taken; a job runs only in a container of
its own function, kind and memory; no more boot at once than allowed; and however the traffic went, once
containers stop dying every job that was ever submitted has run.
"""

from __future__ import annotations

import dataclasses
import itertools

import hypothesis.strategies as st
from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from worlds import function

from instar_controller.policies import idle, lifecycle, pool, prewarm
from instar_controller.policies.lifecycle import Event, State
from instar_controller.policies.snapshot import Container, ContainerId, Job
from instar_controller.whisk.invocation import ContainerKey

BUDGET_MB = 1024
MEMORIES_MB = (128, 256, 512, 1024)
KINDS = ("python:3", "pytorch:2")
KEEP_ALIVE_S = 5.0


class Traffic(RuleBasedStateMachine):
    @initialize(
        cells=st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(MEMORIES_MB)), max_size=3),
        n=st.integers(1, 3),
    )
    def begin(self, cells: list[tuple[str, int]], n: int) -> None:
        self.wanted = tuple(prewarm.StemCells(kind, memory_mb, 1) for kind, memory_mb in set(cells))
        self.starts_at_once = n
        self.containers: dict[ContainerId, Container] = {}
        self.queue: list[Job] = []
        self.holds: dict[ContainerId, Job] = {}
        self.submitted = self.answered = 0
        self.now_s = 0.0
        self.ids = itertools.count()

    # What the outside does.

    @rule(name=st.sampled_from("abc"), kind=st.sampled_from(KINDS), memory_mb=st.sampled_from(MEMORIES_MB))
    def submit(self, name: str, kind: str, memory_mb: int) -> None:
        self.submitted += 1
        self.queue.append(Job(function(f"{name}-{kind}-{memory_mb}"), kind, memory_mb))
        self.pump()

    @rule(data=st.data())
    def come_up(self, data: st.DataObject) -> None:
        self.step_one(data, State.STARTING, Event.UP)

    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        self.step_one(data, State.RUNNING, Event.ANSWERED)

    @rule(data=st.data())
    def collect(self, data: st.DataObject) -> None:
        self.step_one(data, State.COLLECTING, Event.COLLECTED)

    @rule(data=st.data())
    def go(self, data: st.DataObject) -> None:
        self.step_one(data, State.REMOVING, Event.REMOVED)

    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        alive = [c for c in self.containers.values() if c.state not in (State.REMOVING, State.GONE)]
        if alive:
            self.step(data.draw(st.sampled_from(alive)), Event.DOOMED)
            self.pump()

    @rule(seconds=st.integers(1, 4))
    def grow_old(self, seconds: int) -> None:
        self.now_s += seconds
        for id in idle.expired(self.containers.values(), now_s=self.now_s, keep_alive_s=KEEP_ALIVE_S):
            self.step(self.containers[id], Event.DOOMED)
        self.pump()

    # What the engine does.

    def step_one(self, data: st.DataObject, state: State, event: Event) -> None:
        candidates = [c for c in self.containers.values() if c.state is state]
        if candidates:
            self.step(data.draw(st.sampled_from(candidates)), event)
            self.pump()

    def step(self, container: Container, event: Event) -> None:
        state = lifecycle.after(container.state, event)
        changed = dataclasses.replace(container, state=state, last_used_s=self.now_s)
        self.containers[container.id] = changed
        if event is Event.UP and container.id in self.holds:
            self.step(changed, Event.TAKEN)
        if event is Event.ANSWERED or (event is Event.DOOMED and container.id in self.holds):
            self.holds.pop(container.id)
            self.answered += 1

    def pump(self) -> None:
        while self.queue and self.serve(self.queue[0]):
            self.queue.pop(0)
        if not self.queue:
            for cells in prewarm.refill(
                self.wanted,
                tuple(self.containers.values()),
                budget_mb=BUDGET_MB,
                starts_at_once=self.starts_at_once,
            ):
                self.start(cells.kind, cells.memory_mb, None)

    def serve(self, job: Job) -> bool:
        match pool.decide(
            job, tuple(self.containers.values()), budget_mb=BUDGET_MB, starts_at_once=self.starts_at_once
        ):
            case pool.UseWarm(id):
                assert self.containers[id].key == job.key
                self.take(id, job)
            case pool.TakePrewarmed(id):
                assert self.containers[id].key is None
                self.take(id, job)
            case pool.StartCold():
                self.holds[self.start(job.kind, job.memory_mb, job.key)] = job
            case pool.Evict(ids):
                for id in ids:
                    assert self.containers[id].state in (State.READY, State.PREWARMED)
                    self.step(self.containers[id], Event.DOOMED)
                return False
            case pool.Wait():
                return False
            case pool.Refuse():
                raise AssertionError("every job of this test fits the budget")
        return True

    def take(self, id: ContainerId, job: Job) -> None:
        assert id not in self.holds
        container = self.containers[id]
        assert (container.kind, container.memory_mb) == (job.kind, job.memory_mb)
        self.holds[id] = job
        self.step(dataclasses.replace(container, key=job.key), Event.TAKEN)

    def start(self, kind: str, memory_mb: int, serves: ContainerKey | None) -> ContainerId:
        id = ContainerId(f"c{next(self.ids)}")
        self.containers[id] = Container(id, kind, memory_mb, State.STARTING, serves, self.now_s)
        return id

    # What must hold.

    @invariant()
    def the_budget_holds(self) -> None:
        assert pool.memory_in_use_mb(self.containers.values()) <= BUDGET_MB

    @invariant()
    def boots_are_bounded(self) -> None:
        starting = [c for c in self.containers.values() if c.state is State.STARTING]
        assert len(starting) <= self.starts_at_once

    @invariant()
    def no_job_is_lost(self) -> None:
        assert self.submitted == self.answered + len(self.queue) + len(self.holds)

    def teardown(self) -> None:
        """Let everything under way come to its end: then nobody waits any more."""
        usual = {
            State.STARTING: Event.UP,
            State.RUNNING: Event.ANSWERED,
            State.COLLECTING: Event.COLLECTED,
            State.REMOVING: Event.REMOVED,
        }
        while moving := [c for c in self.containers.values() if c.state in usual]:
            self.step(moving[0], usual[moving[0].state])
            self.pump()
            self.the_budget_holds()
        assert self.queue == []
        assert self.answered == self.submitted


Traffic.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=30,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
test_the_pool_keeps_its_promises = Traffic.TestCase
