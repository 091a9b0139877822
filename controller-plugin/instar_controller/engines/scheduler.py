"""Who runs where: the queue of jobs and the state of every container, in one place.

It is told what happened and returns what is to be done, as commands; it does no I/O, reads no clock and has
no threads. Its caller calls one method at a time and carries each command out exactly once. The decisions
are the policies'; what is kept here is only what they need to know.

Every job that was submitted comes out exactly once, as `Fail` or by way of `Run`. A job that its container
never saw may come back through `put_back`, and one that was to run in another function's container through
`untouched`, `donor_lost` or `spoiled`; it goes to the head of the queue.

A donor is claimed by compare-and-set: the claim is a step of `lifecycle` that only an idle container can take,
made in the same call, so under the same lock, as the decision.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from instar_controller.engines.orders import Command, Fail, Pause, Remove, Run, Start, StartKind, Transformation, Work
from instar_controller.engines.roster import Roster
from instar_controller.policies import donors, estimates, idle, lifecycle, pool, prewarm
from instar_controller.policies.donors import Sharing
from instar_controller.policies.estimates import Estimate
from instar_controller.policies.idle import Patience
from instar_controller.policies.lifecycle import Event, State
from instar_controller.policies.removal import Reason, Why
from instar_controller.policies.snapshot import Container, ContainerId
from instar_controller.whisk.invocation import ContainerKey


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How much the pool may use, and for how long."""

    memory_mb: int = 2048  # for all containers together
    starts_at_once: int = 2  # containers that boot side by side: a boot keeps one processor busy
    patience: Patience = field(default_factory=Patience)  # with idle warm containers
    sharing: Sharing = field(default_factory=Sharing)  # of idle warm containers with other functions
    stem_cells: tuple[prewarm.StemCells, ...] = ()
    refill_pause_s: float = 1.0  # after a stem cell did not come up; doubles with each failure in a row
    longest_refill_pause_s: float = 60.0


@dataclass(slots=True)
class _Setback:
    """Stem cells of one sort that did not come up: how often in a row, and when to try again."""

    failures: int
    until_s: float | None  # None: now


class Scheduler:
    """The pool's mutable state. Owned by one engine, which calls it under one lock."""

    def __init__(
        self,
        settings: PoolSettings,
        new_id: Callable[[], ContainerId],
        estimate: Estimate = estimates.nothing_known,
    ) -> None:
        self._settings = settings
        self._new_id = new_id
        self._estimate = estimate
        self._containers = Roster()
        self._promised: dict[ContainerId, Work] = {}  # by the container that starts for it
        self._queue: deque[Work] = deque()
        self._setbacks: dict[tuple[str, int], _Setback] = {}  # by kind and memory of the stem cells
        self._distrusted: dict[ContainerKey, float] = {}  # functions that get no donor, and until when
        self._decided_s = 0.0  # when the head of the queue was decided on last
        self._idle_step_s: float | None = None  # no idle container has to go or to sleep before; None: there is none
        self._is_closing = False

    # What the outside tells.

    def submit(self, work: Work, now_s: float) -> list[Command]:
        """A job has arrived."""
        if self._is_closing:
            return [Fail(work)]
        self._queue.append(work)
        return self._proceed(now_s)

    def came_up(self, id: ContainerId, now_s: float) -> list[Command]:
        """A container that was started is up."""
        if self._is_leaving(id):
            # It came up after it had been removed: only at the very end of everything.
            return [Remove(id, Reason(Why.CLOSING))]
        boot_ms = round((now_s - self._containers[id].last_used_s) * 1000)
        self._step(id, Event.UP, now_s)
        if (work := self._promised.pop(id, None)) is not None:
            self._step(id, Event.TAKEN, now_s)
            return [Run(id, work, StartKind.COLD, boot_ms), *self._proceed(now_s)]
        self._setbacks.pop(self._sort(id), None)
        return self._proceed(now_s)

    def start_failed(self, id: ContainerId, now_s: float) -> list[Command]:
        """A container did not come up; nothing of it is left."""
        if self._is_leaving(id):
            return []
        self._step(id, Event.DOOMED, now_s)
        failed = self._fail_promised([id])
        if not failed:
            self._set_back(id, now_s)
        return [*failed, *self.removed(id, now_s)]

    def answered(self, id: ContainerId, now_s: float) -> list[Command]:
        """The work of a container has its answer; it may serve again once its log is read."""
        if not self._is_leaving(id):
            self._step(id, Event.ANSWERED, now_s)
        return []

    def collected(self, id: ContainerId, now_s: float) -> list[Command]:
        """The log of the last activation is read."""
        if not self._is_leaving(id):
            self._step(id, Event.COLLECTED, now_s)
        return self._proceed(now_s)

    def paused(self, id: ContainerId, now_s: float) -> list[Command]:
        """A container is asleep."""
        if not self._is_leaving(id):
            self._step_aside(id, Event.PAUSED)
        return self._proceed(now_s)

    def broken(self, id: ContainerId, reason: Reason, now_s: float) -> list[Command]:
        """A container must not be used again, or has ended by itself."""
        return [*self._doom([id], reason, now_s), *self._proceed(now_s)]

    def put_back(self, id: ContainerId, work: Work, reason: Reason, now_s: float) -> list[Command]:
        """A container turned out to be dead, or could not be woken, before it saw its work."""
        if self._is_closing:
            return [Fail(work), *self._doom([id], reason, now_s)]
        self._queue.appendleft(replace(work, is_second_try=True))
        return self.broken(id, reason, now_s)

    def transformed(self, id: ContainerId, work: Work, now_s: float) -> list[Command]:
        """A donor is the work's function now, and the work goes on in it."""
        if not self._is_leaving(id):
            self._promise(id, work)
            self._step(id, Event.TRANSFORMED, now_s)
        return []

    def untouched(self, id: ContainerId, work: Work, now_s: float) -> list[Command]:
        """A donor does not hold what it was taken for, and is as it was; its work gets something else."""
        if not self._is_leaving(id):
            self._step_aside(id, Event.UNTOUCHED)
        return self._decide_again(replace(work, refused_by=work.refused_by | {id}), now_s)

    def donor_lost(self, id: ContainerId, work: Work, reason: Reason, now_s: float) -> list[Command]:
        """A donor turned out to be dead, or could not be woken; its work, which it never saw, gets something
        else."""
        doomed = self._doom([id], reason, now_s)
        return [*doomed, *self._decide_again(work, now_s)]

    def spoiled(self, id: ContainerId, work: Work, reason: Reason, now_s: float) -> list[Command]:
        """A donor is neither what it was nor what it should be. The work gets something else; its own code may be
        to blame, so for a while its function costs no other donor its container."""
        self._distrusted[work.job.key] = now_s + self._settings.sharing.distrust_s
        return self.donor_lost(id, work, reason, now_s)

    def removed(self, id: ContainerId, now_s: float) -> list[Command]:
        """A container has gone, and its memory is free."""
        if id not in self._containers:
            return []
        self._step(id, Event.REMOVED, now_s)
        self._containers.remove(id)
        return self._proceed(now_s)

    def tick(self, now_s: float) -> list[Command]:
        """Time has passed: see `wake_s`."""
        for setback in self._setbacks.values():
            if setback.until_s is not None and setback.until_s <= now_s:
                setback.until_s = None
        self._distrusted = {key: until_s for key, until_s in self._distrusted.items() if now_s < until_s}
        patience = self._settings.patience
        old = idle.expired(self.containers, patience, now_s=now_s)
        gone = self._doom(old, Reason(Why.IDLE, f"unused for {patience.keep_alive_s:g} s"), now_s)
        tired = idle.rested(self.containers, patience, now_s=now_s)
        for id in tired:
            self._step_aside(id, Event.RESTED)
        asleep = [Pause(id, self._containers[id].kind) for id in tired]
        return [*gone, *asleep, *self._proceed(now_s)]

    def close(self, now_s: float) -> list[Command]:
        """Start nothing more: give up what waits and remove every container, the busy ones too."""
        self._is_closing = True
        given_up = [Fail(work) for work in self._queue]
        self._queue.clear()
        return [*given_up, *self._doom(self._containers.ids(), Reason(Why.CLOSING), now_s)]

    # What the outside may ask.

    def wake_s(self) -> float | None:
        """When `tick` is to be called, on the clock of the `now_s`; None if nothing waits for time to
        pass."""
        self._idle_step_s = idle.next_step_s(self.containers, self._settings.patience)
        return self.wake_not_before_s()

    def wake_not_before_s(self) -> float | None:
        """The same, or an earlier time, without looking at every container."""
        times = [self._idle_step_s, self._next_donor_s(), *(setback.until_s for setback in self._setbacks.values())]
        return min((at for at in times if at is not None), default=None)

    @property
    def waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._queue)

    @property
    def containers(self) -> tuple[Container, ...]:
        """Every container that has not gone."""
        return self._containers.all()

    def __repr__(self) -> str:
        states = ", ".join(f"{c.id} {c.state.value}" for c in self.containers)
        return f"<Scheduler: {self.waiting} waiting; {states or 'no containers'}>"

    # How it goes on.

    def _proceed(self, now_s: float) -> list[Command]:
        """Serve the queue from its head as far as it goes; when nobody waits, see to the stem cells."""
        self._decided_s = now_s
        commands: list[Command] = []
        while self._queue:
            head = self._queue[0]
            match self._decide(head, now_s):
                case pool.UseWarm(id):
                    commands.append(self._take(id, head, StartKind.WARM, now_s))
                case pool.TakePrewarmed(id):
                    commands.append(self._take(id, head, StartKind.PREWARMED, now_s))
                case pool.Transform() as decision:
                    commands.append(self._claim(decision, head))
                case pool.StartCold():
                    commands.append(self._start(head.job.kind, head.job.memory_mb, head, now_s))
                case pool.Refuse():
                    commands.append(Fail(head))
                case pool.Evict(ids):
                    reason = Reason(Why.EVICTED, f"{head.job.key.action} needs {head.job.memory_mb} MB")
                    return [*commands, *self._doom(ids, reason, now_s)]
                case pool.Wait():
                    return commands
            self._queue.popleft()
        return [*commands, *self._refill(now_s)]

    def _decide(self, work: Work, now_s: float) -> pool.Decision:
        if ready := self._containers.ready(work.job.key):
            return pool.UseWarm(pool.best_of(ready).id)  # as the policy says, and nobody else need be looked at
        found = self._donors(work, now_s)
        return pool.decide(
            work.job,
            self.containers,
            budget_mb=self._settings.memory_mb,
            starts_at_once=self._settings.starts_at_once,
            donors=found,
            estimates=self._estimate(work.job, [donor.key for donor in found if donor.key is not None]),
        )

    def _donors(self, work: Work, now_s: float) -> tuple[Container, ...]:
        if now_s < self._distrusted.get(work.job.key, now_s):
            return ()
        sharing = self._settings.sharing
        return donors.find(work.job, self.containers, sharing, now_s=now_s, refused_by=work.refused_by)

    def _next_donor_s(self) -> float | None:
        """When the head of the queue, which waits, gets another donor."""
        if not self._queue:
            return None
        work = self._queue[0]
        distrusted_until_s = self._distrusted.get(work.job.key)
        if distrusted_until_s is not None and distrusted_until_s > self._decided_s:
            return distrusted_until_s
        sharing = self._settings.sharing
        return donors.next_one_s(
            work.job, self.containers, sharing, after_s=self._decided_s, refused_by=work.refused_by
        )

    def _decide_again(self, work: Work, now_s: float) -> list[Command]:
        """The work has no container after all: it is first in the queue again."""
        if self._is_closing:
            return [Fail(work)]
        self._queue.appendleft(work)
        return self._proceed(now_s)

    def _refill(self, now_s: float) -> list[Command]:
        if self._is_closing or all(self._stands(cells) for cells in self._settings.stem_cells):
            return []
        cells = prewarm.refill(
            [cells for cells in self._settings.stem_cells if self._may_refill(cells)],
            self.containers,
            budget_mb=self._settings.memory_mb,
            starts_at_once=self._settings.starts_at_once,
        )
        return [self._start(cell.kind, cell.memory_mb, None, now_s) for cell in cells]

    def _stands(self, cells: prewarm.StemCells) -> bool:
        return self._containers.stem_cells(cells.kind, cells.memory_mb) >= cells.count

    def _may_refill(self, cells: prewarm.StemCells) -> bool:
        setback = self._setbacks.get((cells.kind, cells.memory_mb))
        return setback is None or setback.until_s is None

    def _set_back(self, id: ContainerId, now_s: float) -> None:
        """A stem cell did not come up: the next of its sort may not either, so try again later and later."""
        setback = self._setbacks.setdefault(self._sort(id), _Setback(0, None))
        pause_s = self._settings.refill_pause_s * 2**setback.failures
        setback.failures += 1
        setback.until_s = now_s + min(pause_s, self._settings.longest_refill_pause_s)

    def _sort(self, id: ContainerId) -> tuple[str, int]:
        return self._containers[id].kind, self._containers[id].memory_mb

    def _start(self, kind: str, memory_mb: int, work: Work | None, now_s: float) -> Start:
        start = Start(self._new_id(), kind, memory_mb, work)
        if work is not None:
            self._promised[start.container] = work
        shares = work is None or work.job.shares
        self._put(Container(start.container, kind, memory_mb, State.STARTING, start.key, now_s, shares))
        return start

    def _take(self, id: ContainerId, work: Work, start: StartKind, now_s: float) -> Run:
        is_paused = self._containers[id].state is State.PAUSED
        self._promise(id, work)
        self._step(id, Event.TAKEN, now_s)
        return Run(id, work, start, is_paused=is_paused)

    def _claim(self, decision: pool.Transform, work: Work) -> Run:
        """The donor keeps its function and its age until it has become the other: it may come back."""
        donor = self._containers[decision.container]
        assert donor.key == decision.source, "it was decided on what is there"
        self._step_aside(donor.id, Event.CLAIMED)
        return Run(
            donor.id,
            work,
            StartKind.TRANSFORMED,
            is_paused=donor.state is State.PAUSED,
            transformation=Transformation(decision.source, decision.offer, decision.estimated_ms),
        )

    def _promise(self, id: ContainerId, work: Work) -> None:
        """From here on the container is this function's."""
        self._put(replace(self._containers[id], key=work.job.key, shares=work.job.shares))

    def _doom(self, ids: Iterable[ContainerId], reason: Reason, now_s: float) -> list[Command]:
        """Have these removed, unless they are on their way out already."""
        doomed = [id for id in ids if not self._is_leaving(id)]
        for id in doomed:
            self._step(id, Event.DOOMED, now_s)
        return [*self._fail_promised(doomed), *(Remove(id, reason) for id in doomed)]

    def _fail_promised(self, ids: Iterable[ContainerId]) -> list[Fail]:
        return [Fail(self._promised.pop(id)) for id in ids if id in self._promised]

    def _is_leaving(self, id: ContainerId) -> bool:
        container = self._containers.get(id)
        return container is None or container.state is State.REMOVING

    def _step(self, id: ContainerId, event: Event, now_s: float) -> None:
        """What happens is a use of the container."""
        container = self._containers[id]
        self._put(replace(container, state=lifecycle.after(container.state, event), last_used_s=now_s))

    def _step_aside(self, id: ContainerId, event: Event) -> None:
        """What happens leaves the container as old as it is."""
        container = self._containers[id]
        self._put(replace(container, state=lifecycle.after(container.state, event)))

    def _put(self, container: Container) -> None:
        self._containers.put(container)
        step_s = idle.next_step_s((container,), self._settings.patience)
        if step_s is not None and (self._idle_step_s is None or step_s < self._idle_step_s):
            self._idle_step_s = step_s
