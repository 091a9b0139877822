"""What is known of a node, and whether it is taken for alive.

One rule: a node is judged by what was heard of it, and by how long somebody has been able to listen: who could not
hear takes nobody for dead. A node has several lives, one after the other; work belongs to a life of a node, not to
the node.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from instar_controller.whisk.activation import ActivationId


@dataclass(frozen=True, slots=True, order=True)
class Member:
    """One life of a node. `incarnation` is unique to it, whatever the node's name was used for before."""

    name: str
    incarnation: str

    def __str__(self) -> str:
        return f"{self.name}/{self.incarnation}"


@dataclass(frozen=True, slots=True)
class Unfinished:
    """An activation that a node has taken over and not completed, and the offset at which it came."""

    id: ActivationId
    offset: int
    memory_mb: int


class Stage(Enum):
    """What a node intends."""

    WORKING = "working"
    LEAVING = "leaving"  # it finishes what it has taken over, and wants nothing more
    GONE = "gone"  # it does nothing any more


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """What a node says of itself, all of it at one moment. Dispatchers are told by the numbers of their invokers.

    What lies before `position` in the node's topic has been taken over: by this life of it or, before `began`, by
    earlier ones. Of what this life has taken over all is completed that is not in `unfinished`.
    """

    member: Member
    memory_mb: int
    kinds: frozenset[str] | None  # that it can run; None: all
    warm: Mapping[str, int]  # how many containers are warm, by function
    busy_mb: Mapping[int, int]  # what is unfinished takes so much memory, by dispatcher
    began: int
    position: int
    unfinished: Mapping[int, tuple[Unfinished, ...]]  # by dispatcher
    stage: Stage = Stage.WORKING


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a node may be silent, in seconds."""

    silent_s: float = 3.0  # from here on it gets nothing more
    dead_s: float = 10.0  # from here on others get its work, and it must have stopped by itself long before
    grace_s: float = 3.0  # after we could not listen for a while: the nodes' time to be heard again


class Health(Enum):
    """What a node is taken for."""

    ALIVE = "alive"
    SILENT = "silent"
    DEAD = "dead"


def judge(*, heard_s: float, listening_since_s: float, now_s: float, patience: Patience) -> Health:
    """A node that was last heard at `heard_s`, by somebody who has heard everything since `listening_since_s`."""
    silence_s = now_s - heard_s
    if silence_s >= patience.dead_s and now_s - listening_since_s >= patience.grace_s:
        return Health.DEAD
    return Health.SILENT if silence_s >= patience.silent_s else Health.ALIVE
