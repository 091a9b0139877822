"""What the scheduler has done: its commands, as values.

One rule: each is carried out exactly once, and says with which reports of the scheduler's that ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from instar_controller.policies.estimates import PlanOffer
from instar_controller.policies.removal import Reason
from instar_controller.policies.snapshot import ContainerId, Job
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.invocation import ContainerKey


class StartKind(Enum):
    """How a job got its container, in the words of the activation record."""

    COLD = "cold"
    PREWARMED = "prewarmed"
    TRANSFORMED = "transformed"
    WARM = "warm"


@dataclass(frozen=True, slots=True)
class Work:
    """A job of the queue, and whose it is."""

    id: ActivationId
    job: Job
    is_second_try: bool = False  # its first container was dead before it saw it
    refused_by: frozenset[ContainerId] = frozenset()  # donors that could not be made into its function


@dataclass(frozen=True, slots=True)
class Start:
    """Start a container; report `came_up` or `start_failed`."""

    container: ContainerId
    kind: str
    memory_mb: int
    work: Work | None  # the job that it is for

    @property
    def key(self) -> ContainerKey | None:
        """The function that it is for."""
        return None if self.work is None else self.work.job.key

    @property
    def is_stem_cell(self) -> bool:
        return self.work is None


@dataclass(frozen=True, slots=True)
class Transformation:
    """What is to be made of another function's container, and what was promised of it."""

    source: ContainerKey
    offer: PlanOffer | None  # of a plan; None: it lets go of what it has and loads
    estimated_ms: float  # from the decision to the answer


@dataclass(frozen=True, slots=True)
class Run:
    """Carry the work out in this container; report `answered` and `collected`, `broken` or `put_back`.

    With a `transformation` the container is to become the work's function first: report `transformed` and go on, or
    `untouched`, `donor_lost` or `spoiled`, which end this command.
    """

    container: ContainerId
    work: Work
    start: StartKind
    boot_ms: int | None = None  # of the container, if it was started for this very work
    is_paused: bool = False  # the container sleeps: wake it first
    transformation: Transformation | None = None


@dataclass(frozen=True, slots=True)
class Pause:
    """Put this container to sleep; report `paused` or `broken`."""

    container: ContainerId
    kind: str


@dataclass(frozen=True, slots=True)
class Remove:
    """Remove this container; report `removed`."""

    container: ContainerId
    reason: Reason


@dataclass(frozen=True, slots=True)
class Fail:
    """There is no container to be had for this work."""

    work: Work


Command = Start | Run | Pause | Remove | Fail
