"""The pool's containers, and in which of them a function waits, without looking through all of them.

One rule: it says what a look through all of them would say. A node may have hundreds, and is asked several times for
each activation.
"""

from __future__ import annotations

from collections import Counter

from instar_controller.policies.lifecycle import State
from instar_controller.policies.snapshot import Container, ContainerId
from instar_controller.whisk.invocation import ContainerKey


class Roster:
    """Owned by the scheduler, as part of its state."""

    def __init__(self) -> None:
        self._containers: dict[ContainerId, Container] = {}
        self._ready: dict[ContainerKey, dict[ContainerId, Container]] = {}  # by function, never empty
        self._cells: Counter[tuple[str, int]] = Counter()  # stem cells, by kind and memory

    def __getitem__(self, id: ContainerId) -> Container:
        return self._containers[id]

    def __contains__(self, id: ContainerId) -> bool:
        return id in self._containers

    def get(self, id: ContainerId) -> Container | None:
        return self._containers.get(id)

    def put(self, container: Container) -> None:
        """Add a container, or have it as it is now."""
        self._forget(self._containers.get(container.id))
        self._containers[container.id] = container
        if container.key is not None and container.state is State.READY:
            self._ready.setdefault(container.key, {})[container.id] = container
        if container.is_stem_cell:
            self._cells[container.kind, container.memory_mb] += 1

    def remove(self, id: ContainerId) -> None:
        """It has gone."""
        self._forget(self._containers.pop(id))

    def ready(self, key: ContainerKey) -> tuple[Container, ...]:
        """The containers of this function that are idle and awake."""
        return tuple(self._ready.get(key, {}).values())

    def stem_cells(self, kind: str, memory_mb: int) -> int:
        """How many there are, those that start included."""
        return self._cells[kind, memory_mb]

    def all(self) -> tuple[Container, ...]:
        return tuple(self._containers.values())

    def ids(self) -> list[ContainerId]:
        return list(self._containers)

    def _forget(self, container: Container | None) -> None:
        """The indexes have it no longer."""
        if container is None:
            return
        if container.key is not None and container.state is State.READY:
            same = self._ready[container.key]
            del same[container.id]
            if not same:
                del self._ready[container.key]
        if container.is_stem_cell:
            self._cells[container.kind, container.memory_mb] -= 1
