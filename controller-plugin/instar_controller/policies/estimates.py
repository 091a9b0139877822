"""How long a job is estimated to wait for its answer, by each way to a container.

One rule: what is not known is None and is never made up; how unknown figures compare is `choice`'s to say. All
of them count the same milliseconds, from the decision to the answer of `/run`, so they may be compared, and held
against what the record says afterwards. Where they come from is not this file's business.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from instar_controller.policies.snapshot import Job
from instar_controller.whisk.invocation import ContainerKey


@dataclass(frozen=True, slots=True)
class PlanOffer:
    """A proven plan by which a donor's model becomes the job's, and what the planner estimates of it."""

    plan: bytes  # what `plans.encode` wrote, compressed by zlib: unpacked for the donor that is chosen, and no other
    transform_ms: float  # to carry it out
    load_ms: float  # to load the job's model from scratch instead


@dataclass(frozen=True, slots=True)
class Way:
    """From another function's container to the job's answer: by a plan, or, where that is None, by letting go of what
    the container has and loading."""

    offer: PlanOffer | None
    ms: float


@dataclass(frozen=True, slots=True)
class Estimates:
    """For one job, in milliseconds."""

    warm_ms: float | None = None
    prewarmed_ms: float | None = None
    cold_ms: float | None = None
    reload_ms: float | None = None  # in any donor, without a plan
    plans: Mapping[ContainerKey, Way] = field(default_factory=dict)  # by the donor's function
    wake_ms: float | None = None  # on top, for a container that sleeps

    def way_from(self, donor: ContainerKey) -> Way | None:
        """A plan if one is offered, which it is only where loading is slower, or loading in that container; None if
        neither is known."""
        planned = self.plans.get(donor)
        if planned is not None or self.reload_ms is None:
            return planned
        return Way(None, self.reload_ms)


# What is known about a job, given whose containers could become its function. Neither waits nor raises: it is asked
# while a request waits and the pool stands still.
Estimate = Callable[[Job, Collection[ContainerKey]], Estimates]

UNKNOWN = Estimates()


def nothing_known(job: Job, donors: Collection[ContainerKey]) -> Estimates:
    """The `Estimate` of who has measured nothing: with it nothing is ever transformed."""
    return UNKNOWN
