"""What the policies look at: containers and jobs, frozen at one moment.

The engine takes these pictures of its own mutable records; a policy that holds one cannot change anything
by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

from instar_controller.policies.lifecycle import State

ContainerId = NewType("ContainerId", str)


@dataclass(frozen=True, slots=True)
class Function:
    """What a warm container serves: one action, exactly as it was, for one invoking namespace.

    OpenWhisk shares a container only between calls of the same namespace whose action is equal as a value.
    `digest` stands for the parts of that value that the other fields do not name: code, parameters, limits,
    annotations.
    """

    namespace: str  # the invoking one, not the action's
    action: str  # namespace/[package/]name
    version: str
    digest: str


@dataclass(frozen=True, slots=True)
class Container:
    """A container as a policy sees it. `function` is None for a stem cell: nobody has it yet."""

    id: ContainerId
    kind: str
    memory_mb: int
    state: State
    function: Function | None
    last_used_s: float  # when it came up or last answered, on the engine's monotonic clock

    @property
    def is_stem_cell(self) -> bool:
        """Up or on its way up, and promised to no function."""
        return self.function is None and self.state in (State.STARTING, State.PREWARMED)


@dataclass(frozen=True, slots=True)
class Job:
    """One invocation that needs a container."""

    function: Function
    kind: str
    memory_mb: int
