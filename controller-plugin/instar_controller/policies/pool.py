"""Which container gets the job: the rules of OpenWhisk's container pool, and what goes beyond them.

Warm beats prewarmed beats cold beats eviction beats waiting. A warm container serves only the very function
that made it warm; a prewarmed one is taken only for its own kind and exactly its memory. The memory of all
containers together never exceeds the budget, and a container on its way out counts until it has gone: so an
eviction only makes room, and the job at the head of the queue is decided again once the room is there.

Three rules go beyond the stock pool. A matching container that is merely finishing its log, or falling asleep,
is waited for, since that takes milliseconds and a cold start a thousand. Only so many containers boot at once, since
boots that share a processor all come up late. And stem cells give way to a job that would never fit beside
them, which the stock pool leaves waiting for ever.

A container that is awake and holds the very function is taken at once: nothing is sooner. For the others that order
holds where nothing else is known. Where the time to the first answer is estimated, the soonest way is taken
(`choice.py`), and there is one way more: another function's idle container can become this one. It comes last in the
order, since it costs that function its container: it must be strictly sooner than all others.

Only the head of the queue is asked about: jobs behind it wait, even those that would fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from instar_controller.policies import choice
from instar_controller.policies.choice import Offer
from instar_controller.policies.estimates import UNKNOWN, Estimates, PlanOffer
from instar_controller.policies.lifecycle import State
from instar_controller.policies.snapshot import Container, ContainerId, Job
from instar_controller.whisk.invocation import ContainerKey


@dataclass(frozen=True, slots=True)
class UseWarm:
    """Run in this container; it has been initialised for this very function. It may be asleep."""

    container: ContainerId


@dataclass(frozen=True, slots=True)
class TakePrewarmed:
    """Initialise this stem cell and run in it."""

    container: ContainerId


@dataclass(frozen=True, slots=True)
class Transform:
    """Make this container, which is `source`'s, into the job's function and run in it. It may be asleep.

    Without an offer of a plan it lets go of what it has and loads.
    """

    container: ContainerId
    source: ContainerKey
    offer: PlanOffer | None
    estimated_ms: float  # from now to the answer


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


Decision = UseWarm | TakePrewarmed | Transform | StartCold | Evict | Wait | Refuse


def decide(
    job: Job,
    containers: Sequence[Container],
    *,
    budget_mb: int,
    starts_at_once: int,
    donors: Sequence[Container] = (),
    estimates: Estimates = UNKNOWN,
) -> Decision:
    """What to do with the job at the head of the queue. `donors` are those of `containers` that may become its
    function, the first of equal ones first.
    """
    if job.memory_mb > budget_mb:
        return Refuse()
    if ready := [c for c in containers if c.key == job.key and c.state is State.READY]:
        return UseWarm(best_of(ready).id)
    offers = [
        *_warm(job, containers, estimates),
        *_prewarmed(job, containers, estimates),
        # Making room comes on top: a lower bound, so that in doubt nobody loses a container.
        Offer(_own(job, containers, budget_mb, starts_at_once), estimates.cold_ms),
        *_transformed(donors, estimates),
    ]
    return choice.soonest(offers)


def best_of(idle: Iterable[Container]) -> Container:
    """The one of a function's idle containers that runs it next: rather one that is awake than one asleep; the longer
    unused ones may grow old and go.
    """
    return max(idle, key=lambda c: (c.state is State.READY, c.last_used_s))


def memory_in_use_mb(containers: Iterable[Container]) -> int:
    """What the containers hold of the budget, those that are leaving included."""
    return sum(c.memory_mb for c in containers if c.state is not State.GONE)


def _warm(job: Job, containers: Sequence[Container], estimates: Estimates) -> list[Offer[Decision]]:
    """The function's own container, or a moment's patience for it."""
    same = [c for c in containers if c.key == job.key]
    if idle := [c for c in same if c.is_idle]:
        best = best_of(idle)
        return [Offer(UseWarm(best.id), _awake(best, estimates.warm_ms, estimates))]
    if any(c.state in (State.COLLECTING, State.PAUSING) for c in same):
        return [Offer(Wait(), estimates.warm_ms)]
    return []


def _prewarmed(job: Job, containers: Sequence[Container], estimates: Estimates) -> list[Offer[Decision]]:
    cells = [c for c in containers if _is_prewarmed_for(job, c)]
    return [Offer(TakePrewarmed(min(cells, key=_last_used).id), estimates.prewarmed_ms)] if cells else []


def _own(job: Job, containers: Sequence[Container], budget_mb: int, starts_at_once: int) -> Decision:
    """A new container, or what has to happen before there can be one."""
    if memory_in_use_mb(containers) + job.memory_mb > budget_mb:
        return _make_room(job, containers, budget_mb)
    if sum(c.state is State.STARTING for c in containers) >= starts_at_once:
        return Wait()
    return StartCold()


def _transformed(donors: Sequence[Container], estimates: Estimates) -> list[Offer[Decision]]:
    offers: list[Offer[Decision]] = []
    for donor in donors:
        assert donor.key is not None, "a donor has a function"
        way = estimates.way_from(donor.key)
        ms = None if way is None else _awake(donor, way.ms, estimates)
        if way is not None and ms is not None:
            offers.append(Offer(Transform(donor.id, donor.key, way.offer, ms), ms))
    return offers


def _awake(container: Container, ms: float | None, estimates: Estimates) -> float | None:
    waking_ms = estimates.wake_ms if container.state is State.PAUSED else 0.0
    return None if ms is None or waking_ms is None else ms + waking_ms


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
