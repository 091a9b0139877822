"""Which container gets the job: the rules of OpenWhisk's container pool.

Warm beats prewarmed beats cold beats eviction beats waiting. A warm container serves only the very function
that made it warm; a prewarmed one is taken only for its own kind and exactly its memory. The memory of all
containers together never exceeds the budget, and a container on its way out counts until it has gone: so an
eviction only makes room, and the job at the head of the queue is decided again once the room is there.

Three rules go beyond the stock pool. A matching container that is merely finishing its log, or falling asleep,
is waited for, since that takes milliseconds and a cold start a thousand. Only so many containers boot at once, since
boots that share a processor all come up late. And stem cells give way to a job that would never fit beside
them, which the stock pool leaves waiting for ever.

Only the head of the queue is asked about: jobs behind it wait, even those that would fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from instar_controller.policies.lifecycle import State
from instar_controller.policies.snapshot import Container, ContainerId, Job


@dataclass(frozen=True, slots=True)
class UseWarm:
    """Run in this container; it has been initialised for this very function. It may be asleep."""

    container: ContainerId


@dataclass(frozen=True, slots=True)
class TakePrewarmed:
    """Initialise this stem cell and run in it."""

    container: ContainerId


@dataclass(frozen=True, slots=True)
class StartCold:
    """Start a container for this job: there is room for it."""


@dataclass(frozen=True, slots=True)
class Evict:
    """Remove these, all of them idle, and decide again when they have gone."""

    containers: tuple[ContainerId, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Decide again when a container comes up, comes free or goes."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """No amount of waiting makes this job fit the budget."""


Decision = UseWarm | TakePrewarmed | StartCold | Evict | Wait | Refuse


def decide(job: Job, containers: Sequence[Container], *, budget_mb: int, starts_at_once: int) -> Decision:
    """What to do with the job at the head of the queue."""
    if job.memory_mb > budget_mb:
        return Refuse()
    same = [c for c in containers if c.key == job.key]
    if warm := [c for c in same if c.is_idle]:
        # One that is awake rather than one asleep; the longer unused ones may grow old and go.
        return UseWarm(max(warm, key=lambda c: (c.state is State.READY, c.last_used_s)).id)
    if any(c.state in (State.COLLECTING, State.PAUSING) for c in same):
        return Wait()
    if cells := [c for c in containers if _is_prewarmed_for(job, c)]:
        return TakePrewarmed(min(cells, key=_last_used).id)
    if memory_in_use_mb(containers) + job.memory_mb > budget_mb:
        return _make_room(job, containers, budget_mb)
    if sum(c.state is State.STARTING for c in containers) >= starts_at_once:
        return Wait()
    return StartCold()


def memory_in_use_mb(containers: Iterable[Container]) -> int:
    """What the containers hold of the budget, those that are leaving included."""
    return sum(c.memory_mb for c in containers if c.state is not State.GONE)


def _make_room(job: Job, containers: Sequence[Container], budget_mb: int) -> Evict | Wait:
    """Evict as few idle containers as make room, longest unused first, unless room is coming anyway or
    cannot be made."""
    staying = [c for c in containers if c.state is not State.REMOVING]
    missing_mb = memory_in_use_mb(staying) + job.memory_mb - budget_mb
    if missing_mb <= 0:
        return Wait()
    evicted: list[ContainerId] = []
    for candidate in _evictable(job, staying, budget_mb):
        evicted.append(candidate.id)
        missing_mb -= candidate.memory_mb
        if missing_mb <= 0:
            return Evict(tuple(evicted))
    return Wait()


def _evictable(job: Job, containers: Sequence[Container], budget_mb: int) -> list[Container]:
    """Idle warm containers, then, if the job could never run beside the stem cells, those that are up."""
    warm = sorted((c for c in containers if c.is_idle), key=_last_used)
    cells = [c for c in containers if c.is_stem_cell]
    if memory_in_use_mb(cells) + job.memory_mb <= budget_mb:
        return warm
    return warm + sorted((c for c in cells if c.state is State.PREWARMED), key=_last_used)


def _is_prewarmed_for(job: Job, container: Container) -> bool:
    return (
        container.state is State.PREWARMED
        and container.is_stem_cell
        and container.kind == job.kind
        and container.memory_mb == job.memory_mb
    )


def _last_used(container: Container) -> float:
    return container.last_used_s
