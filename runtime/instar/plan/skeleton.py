"""A graph in two parts: the form of each operator, and how the operators are wired.

A *form* is an operator without its references: the compact JSON text of `[op, args, kwargs, type]` as `graph.codec`
writes a node, with `"%"` where a value belongs and `"$float32[64,3]"` where a weight of that type does. Operators of
equal form differ in nothing but weights and edges. The *wiring* is all the rest of a graph: what belongs in those
places, inputs, outputs, dynamic dimensions.

The one rule: `assemble(disassemble(graph)) == graph`. So two graphs are equal if their skeletons are, and skeletons
are compared without making an object for each argument. Whether a graph keeps the grammar is `spec.check`'s work.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from instar import digests
from instar.errors import GraphError
from instar.graph import codec, ir

_VALUE, _WEIGHT = "%", "$"


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a graph is beside the forms of its operators. Types and outputs are texts as `graph.codec` writes them."""

    inputs: tuple[str, ...]
    symbols: tuple[str, ...]
    references: tuple[int, ...]  # numbers of values and of weights, in the order in which the forms ask for them
    outputs: tuple[str, ...]
    spare: tuple[tuple[int, str], ...]  # index and type of each weight that no operator uses

    def encode(self) -> str:
        """Compact JSON text: a list of the five fields."""
        return text([self.inputs, self.symbols, self.references, self.outputs, self.spare])


@dataclass(frozen=True, slots=True)
class Skeleton:
    """A whole graph: the form of each operator in execution order, and the wiring."""

    forms: tuple[str, ...]
    wiring: Wiring

    def __repr__(self) -> str:
        return f"<Skeleton {len(self.forms)} operators, {len(self.wiring.references)} references>"


def digest(skeleton: Skeleton) -> str:
    """The digest of a graph alone, without its signature: 64 hexadecimal digits."""
    return digests.hexdigest("\n".join((*skeleton.forms, skeleton.wiring.encode())).encode())


def text(value: Any) -> str:
    """JSON values as the one text that stands for them here."""
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def disassemble(graph: ir.Graph) -> Skeleton:
    """Take a graph apart that `spec.check` has accepted."""
    document = codec.encode(graph)
    types: list[str] = document["weights"]
    references: list[int] = []
    used: set[int] = set()

    def cut(argument: Any) -> Any:
        if isinstance(argument, list):
            return [cut(item) for item in argument]
        if not isinstance(argument, str) or not argument.startswith((_VALUE, _WEIGHT)):
            return argument
        number = int(argument[1:])
        references.append(number)
        if argument[0] == _VALUE:
            return _VALUE
        used.add(number)
        return _WEIGHT + types[number]

    forms = tuple(
        text([op, [cut(a) for a in args], {name: cut(a) for name, a in kwargs.items()}, type_])
        for op, args, kwargs, type_ in document["nodes"]
    )
    wiring = Wiring(
        inputs=tuple(document["inputs"]),
        symbols=tuple(document["symbols"]),
        references=tuple(references),
        outputs=tuple(document["outputs"]),
        spare=tuple((index, type_) for index, type_ in enumerate(types) if index not in used),
    )
    return Skeleton(forms, wiring)


def assemble(skeleton: Skeleton) -> ir.Graph:
    """Put a graph together.

    Each form must be the JSON text of a list of a text, a list, an object and a text. Raises `GraphError` where forms
    and wiring do not fit each other, or make no graph.
    """
    types = dict(skeleton.wiring.spare)
    numbers = iter(skeleton.wiring.references)
    nodes = []
    for position, form in enumerate(skeleton.forms):
        op, args, kwargs, type_ = json.loads(form)
        try:
            filled = [_fill(a, numbers, types) for a in args]
            nodes.append([op, filled, {name: _fill(a, numbers, types) for name, a in kwargs.items()}, type_])
        except GraphError as error:
            raise GraphError(f"operator {position} ({op[:100]}): {error}") from None
    if next(numbers, None) is not None:
        raise GraphError(f"the wiring has more than the {sum(map(_holes, skeleton.forms))} references asked for")
    if len(types) and max(types) >= len(types):
        raise GraphError(f"the wiring names weight {max(types)}, but only {len(types)} weights in all")
    return codec.decode(
        {
            "version": codec.VERSION,
            "symbols": list(skeleton.wiring.symbols),
            "inputs": list(skeleton.wiring.inputs),
            "weights": [types[index] for index in range(len(types))],
            "nodes": nodes,
            "outputs": list(skeleton.wiring.outputs),
        }
    )


def _fill(argument: Any, numbers: Iterator[int], types: dict[int, str]) -> Any:
    if isinstance(argument, list):
        if any(isinstance(item, list) for item in argument):
            raise GraphError("its form has a list in a list")
        return [_fill(item, numbers, types) for item in argument]
    if not isinstance(argument, str) or not argument.startswith((_VALUE, _WEIGHT)):
        return argument
    number = next(numbers, None)
    if number is None:
        raise GraphError("the wiring has no reference left for it")
    if argument == _VALUE:
        return f"{_VALUE}{number}"
    if argument[0] == _VALUE:
        raise GraphError(f"its form has {argument[:100]!r} where '%' belongs")
    if types.setdefault(number, argument[1:]) != argument[1:]:
        raise GraphError(f"weight {number} is {types[number][:100]} elsewhere and {argument[1:][:100]} here")
    return f"{_WEIGHT}{number}"


def _holes(form: str) -> int:
    _, args, kwargs, _ = json.loads(form)
    flat = [i for a in (*args, *kwargs.values()) for i in (a if isinstance(a, list) else [a])]
    return sum(isinstance(i, str) and i.startswith((_VALUE, _WEIGHT)) for i in flat)
