"""How a model is called and in what form it answers, as plain values."""

from __future__ import annotations

from dataclasses import dataclass

from instar.graph import codec, ir

RESULTS = frozenset(["tensor", "tuple", "dict"])


@dataclass(frozen=True, slots=True)
class Port:
    """One input or output of a model: its name and type; dimensions are sizes or names of dynamic ones."""

    name: str
    type: ir.TensorType


@dataclass(frozen=True, slots=True)
class Bounds:
    """The sizes that a dynamic dimension may have, both ends included."""

    min: int
    max: int


@dataclass(frozen=True, slots=True)
class Signature:
    """How a model is called, and in what form it answers.

    `result` is "tensor" (exactly one output), "tuple" or "dict" (by output name).
    """

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    result: str
    dims: tuple[tuple[str, Bounds], ...]

    def __str__(self) -> str:
        inputs = ", ".join(f"{p.name}: {codec.encode_type(p.type)}" for p in self.inputs)
        outputs = ", ".join(f"{p.name}: {codec.encode_type(p.type)}" for p in self.outputs)
        dims = "".join(f"; {name} {b.min}…{b.max}" for name, b in self.dims)
        return f"({inputs}) -> {self.result} ({outputs}){dims}"
