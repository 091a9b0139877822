"""What a node sees of its containers' work, as values: each says of which kind, and how many milliseconds.

One rule: only what went well is told; how long something takes that fails teaches nobody what it will take. What is
made of them is `forecast`'s to say.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from instar_controller.policies.estimates import PlanOffer


class After(Enum):
    """What went before a run in its container."""

    RUN = "run"  # of the same function: it was warm
    INIT = "init"
    PLAN = "plan"  # by which the container became this function
    LOAD = "load"  # … without a plan


@dataclass(frozen=True, slots=True)
class Booted:
    """A container of this kind came up, for a job or as a stem cell."""

    kind: str
    ms: float


@dataclass(frozen=True, slots=True)
class Slept:
    """One was put to sleep."""

    kind: str
    ms: float


@dataclass(frozen=True, slots=True)
class Woken:
    """One was woken."""

    kind: str
    ms: float


@dataclass(frozen=True, slots=True)
class Initialised:
    """`/init` of this action, `ns/[pkg/]name`."""

    kind: str
    action: str
    ms: float


@dataclass(frozen=True, slots=True)
class Transformed:
    """`/transform` into this action: by the plan that was offered, or without one."""

    kind: str
    action: str
    ms: float
    offer: PlanOffer | None


@dataclass(frozen=True, slots=True)
class Ran:
    """`/run` of this action."""

    kind: str
    action: str
    ms: float
    after: After


@dataclass(frozen=True, slots=True)
class Unable:
    """Containers of this kind cannot become another function."""

    kind: str


Observation = Booted | Slept | Woken | Initialised | Transformed | Ran | Unable
