"""The five meta-operators that make one graph of another, as values.

An operator is named by its number in execution order, in the source graph or in the target graph. Steps have no
order: each says which operator it takes from the source and which place of the target it fills, and together they
take every operator of the source and fill every place of the target exactly once.

They are named tuples, not dataclasses: a plan has as many as its graphs have operators, and making a frozen dataclass
takes several times as long.
"""

from __future__ import annotations

from typing import NamedTuple

from instar.plan.skeleton import Wiring


class Replace(NamedTuple):
    """The same operator of the same form, with other weights or the same.

    `views` are the weights whose place in the file, type or shape is new, `moved_bytes` those whose content is.
    """

    operator: str
    source: int
    target: int
    views: int
    moved_bytes: int


class Reshape(NamedTuple):
    """The same operator with other attributes, shapes or types: from now on of this form."""

    operator: str
    source: int
    target: int
    form: str
    views: int
    moved_bytes: int


class Reduce(NamedTuple):
    """An operator of the source that the target has no use for."""

    operator: str
    source: int


class Add(NamedTuple):
    """An operator of the target that nothing in the source became."""

    operator: str
    target: int
    form: str
    views: int
    moved_bytes: int


class Edge(NamedTuple):
    """The target's data flow, with inputs and outputs: there if and only if the graph changes at all."""

    operators: int  # of the target: the size of the program that changes with it
    wiring: Wiring


Step = Replace | Reshape | Reduce | Add | Edge
