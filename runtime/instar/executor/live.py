"""A live model: a program, its weights, and the one way to run it.

Weights are views of a read-only mapping of the store's file, so all processes of a node share one copy in the page
cache and a program that tried to write to them would be stopped by the hardware.
"""

from __future__ import annotations

import mmap
import traceback
import types
from collections.abc import Callable, Mapping
from math import ceil, floor
from typing import Any

import torch

from instar.errors import ExecutionError, InputError
from instar.executor.prepare import Prepared
from instar.graph import program
from instar.graph.signature import Port, Signature

# All that generated code may see of Python.
_PYTHON: dict[str, Any] = {
    # Not for the program: the first time that torch converts certain arguments (a float that may be None), it imports
    # what it needs for that by way of the frame that called it.
    "__builtins__": {"__import__": __import__},
    "max": max,
    "min": min,
    "int": int,
    "float": float,
    "floor": floor,
    "ceil": ceil,
    "device": torch.device("cpu"),
}


def operator(name: str) -> Callable[..., Any]:
    """torch's own function for an operator such as `aten.relu.default`."""
    _, base, overload = name.split(".")
    # The packet's call wrapper is skipped: it only redirects to this, and takes a microsecond.
    return getattr(getattr(torch.ops.aten, base), overload)._op  # type: ignore[no-any-return]


def namespace(compiled: program.Program) -> dict[str, Any]:
    """The globals of a program, still without weights."""
    found = dict(_PYTHON)
    for name, target in compiled.operators:
        found[name] = operator(target)
    for names in (compiled.dtypes, compiled.memory_formats):
        for name, target in names:
            found[name] = getattr(torch, target)
    return found


class LiveModel:
    """A model that can be run. Safe to run from several threads at once; `close` frees the mapping."""

    def __init__(self, prepared: Prepared, mapping: mmap.mmap | None, weights: list[torch.Tensor]) -> None:
        self.signature: Signature = prepared.signature
        self.digest = prepared.digest
        self.structure_digest = prepared.structure_digest
        self._mapping = mapping
        names = namespace(prepared.program)
        names["weights"] = weights
        self._run: Callable[..., tuple[torch.Tensor, ...]] = types.FunctionType(prepared.program.free, names)
        self._code = prepared.program.free

    def __repr__(self) -> str:
        return f"<LiveModel {self.digest[:12]} {self.signature}>"

    def run(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Run the model once. `inputs` are CPU tensors by name; the outputs come in the signature's order.

        Raises `InputError` if the inputs do not fit the signature, `ExecutionError` if an operator fails.
        """
        values = fit(self.signature, inputs)
        with torch.inference_mode():
            try:
                return self._run(*values)
            except Exception as error:
                raise ExecutionError(self._explain(error)) from error

    def _explain(self, error: Exception) -> str:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.name == program.FUNCTION]
        where = f"node {program.node_of_line(lines[-1])} of the graph" if lines and lines[-1] else "the graph"
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"{where} failed: {type(error).__name__}: {first}"


def fit(signature: Signature, inputs: Mapping[str, torch.Tensor]) -> list[torch.Tensor]:
    """The inputs in the signature's order, if they fit it. Raises `InputError`."""
    names = [port.name for port in signature.inputs]
    if set(inputs) != set(names):
        raise InputError(f"the model takes the inputs {', '.join(names)}; {', '.join(inputs) or 'none'} were given")
    sizes: dict[str, int] = {}
    values = []
    for port in signature.inputs:
        value = inputs[port.name]
        _fit_tensor(port, value, sizes)
        values.append(value)
    for name, bounds in signature.dims:
        size = sizes.get(name, bounds.min)
        if not bounds.min <= size <= bounds.max:
            raise InputError(f"dimension {name!r} is {size}; the model takes {bounds.min} to {bounds.max}")
    return values


def _fit_tensor(port: Port, value: torch.Tensor, sizes: dict[str, int]) -> None:
    dtype = str(value.dtype).removeprefix("torch.")
    if dtype != port.type.dtype:
        raise InputError(f"input {port.name!r} is {dtype}; the model takes {port.type.dtype}: convert it")
    wanted = port.type.shape
    shape = tuple(value.shape)
    fits = len(shape) == len(wanted) and all(
        size == sizes.setdefault(dim, size) if isinstance(dim, str) else size == dim
        for size, dim in zip(shape, wanted, strict=True)
    )
    if not fits:
        named = ", ".join(f"{name}={size}" for name, size in sizes.items() if name in wanted)
        raise InputError(
            f"input {port.name!r} has the shape {list(shape)}; the model takes [{', '.join(map(str, wanted))}]"
            + (f" with {named}" if named else "")
        )
