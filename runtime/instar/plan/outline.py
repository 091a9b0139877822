"""What the planner sees of a model: made once, when the model is registered, and kept for as long as it is there.

Everything that a plan could ask of one model alone is worked out here, so that planning a pair only compares. An
outline has no weights, no graph and no program; texts that are equal in many operators are one object.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from instar import digests
from instar.graph import ir
from instar.package import Package, Tensor
from instar.plan import skeleton as skeletons
from instar.plan.skeleton import Skeleton

Key = TypeVar("Key", str, bytes)
Layout = tuple[str, tuple[int, ...], tuple[int, ...], int]  # dtype, shape, strides in elements, offset in bytes


class Holding(NamedTuple):
    """A weight and where it lies. It belongs to the first operator that uses it, so each is counted once."""

    weight: int
    nbytes: int
    digest: str
    layout: Layout


@dataclass(frozen=True, slots=True)
class Outline:
    """One model. Operators are numbered in execution order; `by_…` have their numbers in that order.

    `by_content` has only operators with weights: their form and the bytes of their weights are the same if and only
    if the key is.
    """

    digest: str
    graph_digest: str
    skeleton: Skeleton
    operators: tuple[str, ...]
    holdings: tuple[tuple[Holding, ...], ...]
    file_bytes: int
    by_content: Mapping[bytes, tuple[int, ...]]
    by_form: Mapping[str, tuple[int, ...]]
    by_operator: Mapping[str, tuple[int, ...]]

    @property
    def views(self) -> int:
        """How many weights its operators use."""
        return sum(map(len, self.holdings))

    @property
    def nbytes(self) -> int:
        """The bytes of the weights that its operators use."""
        return sum(holding.nbytes for held in self.holdings for holding in held)

    def __repr__(self) -> str:
        return f"<Outline {self.digest[:12]} {len(self.operators)} operators, {self.views} weights>"


def outline(package: Package) -> Outline:
    """The outline of a package that `package.decode` has checked."""
    apart = skeletons.disassemble(package.graph)
    forms = tuple(map(sys.intern, apart.forms))
    operators = tuple(sys.intern(node.op) for node in package.graph.nodes)
    holdings = _holdings(package.graph, package.tensors)
    contents = [
        digests.digest("\n".join((form, *(h.digest for h in held))).encode()) if held else None
        for form, held in zip(forms, holdings, strict=True)
    ]
    return Outline(
        digest=package.digest,
        graph_digest=skeletons.digest(apart),
        skeleton=Skeleton(forms, apart.wiring),
        operators=operators,
        holdings=holdings,
        file_bytes=package.weights.size,
        by_content=_grouped(contents),
        by_form=_grouped(forms),
        by_operator=_grouped(operators),
    )


def _holdings(graph: ir.Graph, tensors: tuple[Tensor, ...]) -> tuple[tuple[Holding, ...], ...]:
    seen: set[int] = set()
    found = []
    for node in graph.nodes:
        used = dict.fromkeys(r.index for r in ir.node_references(node) if isinstance(r, ir.Weight))
        first = [index for index in used if index not in seen]
        seen.update(first)
        found.append(tuple(_holding(index, tensors[index]) for index in first))
    return tuple(found)


def _holding(index: int, tensor: Tensor) -> Holding:
    layout = (sys.intern(tensor.dtype), tensor.shape, tensor.strides, tensor.offset)
    return Holding(index, tensor.nbytes, tensor.digest, layout)


def _grouped(keys: Iterable[Key | None]) -> Mapping[Key, tuple[int, ...]]:
    found: dict[Key, list[int]] = {}
    for position, key in enumerate(keys):
        if key is not None:
            found.setdefault(key, []).append(position)
    return {key: tuple(positions) for key, positions in found.items()}
