"""What a model is: a list of functional operators in execution order, as plain values.

A graph has inputs, weights and nodes. Node `i` defines the value `len(inputs) + i`; a node may only refer to
values before its own, so a graph has no cycle by construction, and `spec.check` refuses one that tries. Every
operator is functional: nothing is ever written in place, `program` finds out where that can be done unseen.

This file knows neither torch nor JSON. A dimension is a whole number, or the text of an expression over the
names of dynamic dimensions (`"batch"`, `"8*seq + 1"`) that nothing evaluates.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

Dim = int | str


@dataclass(frozen=True, slots=True)
class TensorType:
    """A tensor's element type (torch's name without the prefix, such as `float32`) and shape."""

    dtype: str
    shape: tuple[Dim, ...]


@dataclass(frozen=True, slots=True)
class ScalarType:
    """A number that is computed while the program runs: a size, or arithmetic on sizes."""

    kind: str  # "int", "float" or "bool"


@dataclass(frozen=True, slots=True)
class TupleType:
    """What an operator with several results gives; `py.getitem` takes one of them."""

    items: tuple[TensorType | ScalarType, ...]


ValueType = TensorType | ScalarType | TupleType


@dataclass(frozen=True, slots=True)
class Value:
    """A reference to an input or to what an earlier node computed."""

    id: int


@dataclass(frozen=True, slots=True)
class Weight:
    """A reference to an entry of the tensor index."""

    index: int


@dataclass(frozen=True, slots=True)
class Dtype:
    """An element type as an argument."""

    name: str


@dataclass(frozen=True, slots=True)
class MemoryFormat:
    """A memory format as an argument."""

    name: str


@dataclass(frozen=True, slots=True)
class Device:
    """Wherever the model lives: a package never names a device."""


Arg = (
    Value | Weight | Dtype | MemoryFormat | Device | int | float | bool | str | None | tuple["Arg", ...]
)  # bool is an int; it is named for the reader


@dataclass(frozen=True, slots=True)
class Node:
    """One operator: `aten.<name>.<overload>` or `py.<name>`, its arguments, and the type of what it gives."""

    op: str
    args: tuple[Arg, ...]
    kwargs: tuple[tuple[str, Arg], ...]
    type: ValueType

    def arguments(self) -> Iterator[Arg]:
        """The arguments in order, positional ones first, lists as they are."""
        yield from self.args
        for _, argument in self.kwargs:
            yield argument


@dataclass(frozen=True, slots=True)
class Graph:
    """A whole model: types of inputs and weights, nodes in execution order, and what is handed back."""

    inputs: tuple[TensorType, ...]
    weights: tuple[TensorType, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value | Weight, ...]
    symbols: tuple[str, ...] = field(default=())  # names of dynamic dimensions

    def node_of(self, value: Value) -> Node | None:
        """The node that defines `value`, or None for an input."""
        position = value.id - len(self.inputs)
        return self.nodes[position] if position >= 0 else None

    def type_of(self, reference: Value | Weight) -> ValueType:
        """The type of an input, of a weight, or of what a node computed."""
        if isinstance(reference, Weight):
            return self.weights[reference.index]
        node = self.node_of(reference)
        return self.inputs[reference.id] if node is None else node.type

    def __repr__(self) -> str:
        return (
            f"<Graph {len(self.inputs)} inputs, {len(self.weights)} weights, {len(self.nodes)} nodes, "
            f"{len(self.outputs)} outputs>"
        )


def references(argument: Arg) -> Iterator[Value | Weight]:
    """Every value and weight that an argument mentions, in order, lists looked into."""
    if isinstance(argument, Value | Weight):
        yield argument
    elif isinstance(argument, tuple):
        for item in argument:
            yield from references(item)


def node_references(node: Node) -> Iterator[Value | Weight]:
    """Every value and weight that a node mentions, in order."""
    for argument in node.arguments():
        yield from references(argument)
