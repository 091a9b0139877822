"""Stem cells: containers that are up before anybody needs them, so many per kind and memory.

A cell that was taken is replaced. Jobs go first: while one waits for a container nothing is prewarmed, and
of the boots that may run at once stem cells leave one to the jobs. A cell that does not fit the budget is
not started.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from instar_controller.policies.lifecycle import State
from instar_controller.policies.pool import memory_in_use_mb
from instar_controller.policies.snapshot import Container


@dataclass(frozen=True, slots=True)
class StemCells:
    """How many containers of one kind and memory stand ready."""

    kind: str
    memory_mb: int
    count: int


def refill(
    wanted: Sequence[StemCells], containers: Sequence[Container], *, budget_mb: int, starts_at_once: int
) -> tuple[StemCells, ...]:
    """What to start now, one entry a container, in the order of `wanted`. Not to be asked while a job
    waits."""
    room_mb = budget_mb - memory_in_use_mb(containers)
    starts = max(1, starts_at_once - 1) - sum(c.state is State.STARTING for c in containers)
    started: list[StemCells] = []
    for cells in wanted:
        for _ in range(cells.count - _standing(cells, containers)):
            if len(started) >= starts or cells.memory_mb > room_mb:
                break
            started.append(StemCells(cells.kind, cells.memory_mb, 1))
            room_mb -= cells.memory_mb
    return tuple(started)


def _standing(cells: StemCells, containers: Sequence[Container]) -> int:
    return sum(c.is_stem_cell and c.kind == cells.kind and c.memory_mb == cells.memory_mb for c in containers)
