"""Which node an activation goes to.

One rule: a placement only says which of the nodes that will do it prefers; that a node can run the job and has room
for it holds for every placement. Jobs are placed in order. One that has to wait keeps later ones off the nodes that
it waits for, and off no others.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

from instar_controller.whisk.activation import ActivationId


def function(namespace: str, action: str, revision: str | int | None) -> str:
    """What shares containers: one revision of an action (`ns/[pkg/]name`), called in one namespace."""
    return f"{namespace} {action} {'' if revision is None else revision}"


@dataclass(frozen=True, slots=True)
class Need:
    """What an activation asks of a node."""

    function: str
    memory_mb: int
    concurrency: int = 1  # activations that share a container
    kind: str | None = None  # None: any node will do
    may_run_twice: bool = False  # its action is idempotent, and says so

    def containers_mb(self, activations: int) -> int:
        """The memory of the containers of so many activations at once."""
        return -(-activations // self.concurrency) * self.memory_mb


@dataclass(frozen=True, slots=True)
class Node:
    """A node that may be given work, as it is at one moment."""

    name: str
    memory_mb: int
    busy_mb: int = 0
    running: Mapping[str, int] = field(default_factory=dict)  # our activations, by function
    warm: Mapping[str, int] = field(default_factory=dict)  # containers, by function
    kinds: frozenset[str] | None = None  # that it can run; None: all

    @property
    def load(self) -> float:
        return self.busy_mb / self.memory_mb

    def can_run(self, need: Need) -> bool:
        """Whether it could if it had nothing else to do."""
        knows_it = self.kinds is None or need.kind is None or need.kind in self.kinds
        return knows_it and need.memory_mb <= self.memory_mb

    def has_room(self, need: Need) -> bool:
        return self.busy_mb + self._more_mb(need) <= self.memory_mb

    def is_warm_for(self, need: Need) -> bool:
        """Whether there is a warm container that nobody uses, as far as we know."""
        return self.warm.get(need.function, 0) * need.concurrency > self.running.get(need.function, 0)

    def with_job(self, need: Need) -> Node:
        running = {**self.running, need.function: self.running.get(need.function, 0) + 1}
        return replace(self, busy_mb=self.busy_mb + self._more_mb(need), running=running)

    def _more_mb(self, need: Need) -> int:
        count = self.running.get(need.function, 0)
        return need.containers_mb(count + 1) - need.containers_mb(count)


class Placement(Protocol):
    """Where functions had best run. A value: whoever makes a better one publishes it whole."""

    def choose(self, need: Need, nodes: Sequence[Node]) -> Node:
        """One of these nodes, of which there is at least one; each can run it and has room."""


@dataclass(frozen=True, slots=True)
class LeastLoaded:
    """Where the function is warm, else wherever least is going on; among equals every function has its own order,
    so that it meets its containers again and functions spread."""

    def choose(self, need: Need, nodes: Sequence[Node]) -> Node:
        return min(nodes, key=lambda node: (not node.is_warm_for(need), node.load, _draw(need, node)))


@dataclass(frozen=True, slots=True)
class Waiting:
    """A job in the queue."""

    id: ActivationId
    need: Need


@dataclass(frozen=True, slots=True)
class Assigned:
    """This job goes to that node."""

    id: ActivationId
    node: str


def assign(waiting: Iterable[Waiting], nodes: Iterable[Node], placement: Placement) -> list[Assigned]:
    """Those that can go now, in the order of the queue; the others wait."""
    known = {node.name: node for node in nodes}
    waited_for: set[str] = set()
    assigned = []
    for job in waiting:
        if len(waited_for) == len(known):
            break
        able = [node for node in known.values() if node.can_run(job.need)]
        free = [node for node in able if node.name not in waited_for and node.has_room(job.need)]
        if free:
            chosen = placement.choose(job.need, free)
            known[chosen.name] = chosen.with_job(job.need)
            assigned.append(Assigned(job.id, chosen.name))
        else:
            waited_for.update(node.name for node in able)
    return assigned


def _draw(need: Need, node: Node) -> int:
    return zlib.crc32(f"{need.function} {node.name}".encode())
