"""What `instar invoker` and `instar dispatcher` tell of themselves while they run, as values.

One rule: a notice is for whoever has started the program; what an operator looks for later is in log and metrics.
"""

from __future__ import annotations

from dataclasses import dataclass

from instar_controller.policies.removal import Reason
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import Ending


@dataclass(frozen=True, slots=True)
class Answering:
    """Probes and operators are answered from here on."""

    name: str
    url: str
    is_loopback: bool


@dataclass(frozen=True, slots=True)
class Waiting:
    """Something outside does not answer; it is asked again and again."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class Working:
    """Everything is there; messages of this topic are read from here on."""

    name: str
    topic: str


@dataclass(frozen=True, slots=True)
class Prewarmed:
    """A stem cell is up."""

    kind: str
    memory_mb: int


@dataclass(frozen=True, slots=True)
class Removed:
    """A container has gone, why, and how it had ended if it had done so by itself."""

    container: ContainerId
    reason: Reason
    ending: Ending | None


@dataclass(frozen=True, slots=True)
class Draining:
    """No more messages are read; what runs gets so long to finish."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Ended:
    """Everything is given back."""


Notice = Answering | Waiting | Working | Prewarmed | Removed | Draining | Ended
