"""What the policies look at: containers and jobs, frozen at one moment.

The engine takes these pictures of its own mutable records; a policy that holds one cannot change anything
by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from instar_controller.policies.lifecycle import State
from instar_controller.whisk.invocation import ContainerKey

ContainerId = NewType("ContainerId", str)


@dataclass(frozen=True, slots=True)
class Container:
    """A container as a policy sees it. `key` says which function it serves; None for a stem cell."""

    id: ContainerId
    kind: str
    memory_mb: int
    state: State
    key: ContainerKey | None
    last_used_s: float  # when it came up or last answered, on the engine's monotonic clock
    shares: bool = True  # False: its function wants no other to have its container

    @property
    def is_stem_cell(self) -> bool:
        """Up or on its way up, and promised to no function."""
        return self.key is None and self.state in (State.STARTING, State.PREWARMED)

    @property
    def is_idle(self) -> bool:
        """Warm, and nothing is done with it: it may be used, or removed."""
        return self.state in (State.READY, State.PAUSED)


@dataclass(frozen=True, slots=True)
class Job:
    """One invocation that needs a container."""

    key: ContainerKey
    kind: str
    memory_mb: int
    shares: bool = True  # False: it wants no container that was another function's
