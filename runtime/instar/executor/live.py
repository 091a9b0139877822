"""A live model: a program, its weights, and the one way to run it.

Weights are views of a read-only mapping of the store's file, so all processes of a node share one copy in the page
cache and a program that tried to write to them would be stopped by the hardware.
"""

from __future__ import annotations

import math
import threading
import time
import traceback
import types
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import ceil, floor
from typing import Any

import torch

from instar.errors import ExecutionError, InputError, InstarError, TransformationError
from instar.executor import cores
from instar.executor.mapping import Bound, WeightsMapping
from instar.executor.meter import NOTHING, Reading
from instar.executor.prepare import Prepared
from instar.executor.turns import Turns
from instar.graph import program
from instar.graph.signature import Port, Signature
from instar.weights.arrival import Arrival
from instar.weights.manifest import unpack_fields

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


@cache
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


# How long the system is taken to leave threads on the processors where the last run had them. A ResNet-18 that nobody
# had called for a second took 28 to 38 ms instead of 20, both threads on one of two processors.
SETTLED_S = 0.05

Run = Callable[..., tuple[torch.Tensor, ...]]
Bring = Callable[[], Arrival]
Bind = Callable[[Prepared, Arrival], Bound]
Rebind = Callable[[Bound, Prepared, Prepared, Arrival], Bound]  # what there is, whose it was, whose it is to be


class LiveModel:
    """A model that can be run, if need be while its weights arrive, and that can become another one.

    Safe to run from several threads at once. Until all weights are there it runs *gated*: before each stage it waits
    for those that the stage is the first to use. Then it runs *free*, the same program without a trace of waiting.
    Where weights do not come, the run that waits for them gets the error, and the next run has them brought afresh.

    While it becomes another model nobody can run it, and if that goes wrong nobody ever will.
    """

    def __init__(self, prepared: Prepared, bring: Bring, bind: Bind) -> None:
        """`bring` has the weights brought, `bind` makes tensors of them; both again if that fails on the way."""
        self._prepared = prepared
        self._bring = bring
        self._bind = bind
        self._names = namespace(prepared.program)
        self._turns = Turns()
        self._lock = threading.Lock()
        self._is_abandoned = False
        self._spent = NOTHING  # by arrivals that have ended
        self._arrival: Arrival | None = None
        self._bound: Bound | None = None
        self._run: Run | None = None
        self._ran_s = -math.inf  # when the last run ended
        self._take(bring())

    def __repr__(self) -> str:
        return f"<LiveModel {self.digest[:12]} {self.signature}{' (dirty)' if self.is_dirty else ''}>"

    @property
    def signature(self) -> Signature:
        return self._prepared.signature

    @property
    def digest(self) -> str:
        return self._prepared.digest

    @property
    def structure_digest(self) -> str:
        return self._prepared.structure_digest

    @property
    def is_ready(self) -> bool:
        """Whether all its weights are there."""
        return self._arrival is not None and self._arrival.is_whole and not self.is_dirty

    @property
    def is_dirty(self) -> bool:
        """Whether it is neither one model nor another: now, or for good."""
        return self._turns.is_dirty

    @property
    def is_used(self) -> bool:
        """Whether somebody runs it, or waits for its weights, at this moment."""
        return self._turns.is_used

    def run(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        """Run the model once. `inputs` are CPU tensors by name; the outputs come in the signature's order.

        No output is a weight or shares memory with one: it stays what it is, whatever becomes of the model.

        Raises `InputError` if the inputs do not fit the signature, `ExecutionError` if an operator fails,
        `SourceError` or `DigestError` if weights that it needs do not come, and `TransformationError` if it is dirty.
        """
        self._turns.enter()
        try:
            values = fit(self.signature, inputs)
            run = self._run or self._next_run()
            if self._run is None or time.monotonic() - self._ran_s > SETTLED_S:  # gated, or after a pause
                run = _apart(run)
            with torch.inference_mode():
                try:
                    return run(*values)
                except InstarError:
                    raise
                except Exception as error:
                    raise ExecutionError(self._explain(error)) from error
        finally:
            self._ran_s = time.monotonic()
            self._turns.leave()

    def wait(self) -> None:
        """Return when all weights are there. Raises what `run` raises if they do not come."""
        self._turns.enter()
        try:
            self._current()[0].wait_all()
        finally:
            self._turns.leave()

    def spent(self) -> Reading:
        """What bringing the weights has cost so far."""
        return self._spent if self._arrival is None else self._spent + _spent(self._arrival)

    def abandon(self) -> None:
        """Have runs that wait for weights give up."""
        with self._lock:
            self._is_abandoned = True
            if self._arrival is not None:
                self._arrival.abandon()

    def rest(self) -> None:
        """Prepare for becoming another model, in an idle moment; it can be run as before, at first a little slower.

        Unmapping pages that were read costs by the page (8 ms for 553 MB in pages of 4 KiB); it is done with here.
        """
        with self._lock:
            if self._bound is not None:
                self._bound.mapping.rest()

    def become(self, prepared: Prepared, bring: Bring, rebind: Rebind) -> None:
        """Be another model from now on, whose weights `bring` has brought and `rebind` makes of those that are there.

        Raises `BusyError` if somebody runs it or waits for its weights, and then nothing was touched. After any other
        error, which is a `TransformationError` with its cause, it is dirty.
        """
        self._turns.claim()
        # Dirty from here to the last line: whatever ends this early leaves nothing that can be run.
        source, arrival = self._prepared, None
        with self._lock:
            try:
                self._run = None
                arrival = bring()
                if self._bound is None:  # its own weights could not be had
                    bound = self._bind(prepared, arrival)
                else:
                    bound = rebind(self._bound, source, prepared, arrival)
                if self._arrival is not None:
                    self._arrival.close()  # after its file is not mapped any more: until then it may not be evicted
                if prepared.structure_digest != source.structure_digest:
                    self._names = namespace(prepared.program)
                self._names["weights"] = bound.weights
                self._prepared, self._bring, self._bound, self._arrival = prepared, bring, bound, arrival
                self._spent, self._is_abandoned = NOTHING, False
                self._turns.release()
            except Exception as error:
                raise TransformationError(
                    f"model {source.digest[:16]}… did not become {prepared.digest[:16]}… and is never run again "
                    f"({type(error).__name__}: {error}); close it and load the package afresh"
                ) from error
            finally:
                if self._turns.is_dirty:
                    self._spoil(arrival)

    def close(self) -> None:
        """Let go of the weights. It cannot be run any more; nobody may be running it."""
        with self._lock:
            self._leave()

    def _current(self) -> tuple[Arrival, Bound]:
        """The weights and their arrival, begun afresh if the last one has failed."""
        with self._lock:
            if self._arrival is None or (self._arrival.error is not None and not self._arrival.is_whole):
                self._leave()
                self._take(self._bring())
            assert self._arrival is not None and self._bound is not None  # just taken
            return self._arrival, self._bound

    def _take(self, arrival: Arrival) -> None:
        self._arrival = arrival
        if self._is_abandoned:
            arrival.abandon()
        try:
            self._bound = self._bind(self._prepared, arrival)
        except BaseException:
            self._leave()
            raise
        self._names["weights"] = self._bound.weights

    def _leave(self) -> None:
        self._run = self._bound = None
        self._names.pop("weights", None)
        if self._arrival is not None:
            self._spent += _spent(self._arrival)
            self._arrival.close()
            self._arrival = None

    def _spoil(self, arrival: Arrival | None) -> None:
        """Let go of everything, after becoming another model with the weights of `arrival` went wrong."""
        if arrival is not None:
            arrival.close()
        bound = self._bound
        self._leave()
        if bound is not None:
            bound.mapping.hide()

    def _next_run(self) -> Run:
        """The program for a run that begins now."""
        arrival, bound = self._current()
        if arrival.is_whole:
            self._run = _unshared(types.FunctionType(self._prepared.program.free, self._names), bound.mapping)
            return self._run
        code, stages = self._prepared.program.gated()
        needs = needed(self._prepared, stages)

        def gate(stage: int) -> None:
            for first, last in needs[stage]:
                arrival.wait(first, last)

        gated = types.FunctionType(code, {**self._names, "weights": bound.weights, "gate": gate})

        return _unshared(gated, bound.mapping)

    def _explain(self, error: Exception) -> str:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.name == program.FUNCTION]
        where = f"node {program.node_of_line(lines[-1])} of the graph" if lines and lines[-1] else "the graph"
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        return f"{where} failed: {type(error).__name__}: {first}"


def _apart(program: Run) -> Run:
    """The same, where the system has yet to find out which threads compute, or others work beside them."""

    def run(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        with cores.apart():
            return program(*values)

    return run


def _unshared(program: Run, mapping: WeightsMapping) -> Run:
    """The same, but no output shares memory with weights: other weights may come to lie there."""
    holds = mapping.holds

    def run(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple([output.clone() if holds(output) else output for output in program(*values)])

    return run


def needed(prepared: Prepared, stages: Sequence[program.Stage]) -> list[list[tuple[int, int]]]:
    """For each stage, the chunks, from first to last, that hold the weights which it is the first to use."""
    size = prepared.weights.chunk_bytes
    # On the way to a first answer: plain tuples, no objects.
    chunks = [(at // size, (at + max(nbytes, 1) - 1) // size) for at, nbytes, _ in unpack_fields(prepared.spans)]
    found = []
    for stage in stages:
        ranges: list[tuple[int, int]] = []
        for first, last in sorted({chunks[weight] for weight in stage.weights}):
            if ranges and first <= ranges[-1][1] + 1:
                ranges[-1] = ranges[-1][0], max(last, ranges[-1][1])
            else:
                ranges.append((first, last))
        found.append(ranges)
    return found


def _spent(arrival: Arrival) -> Reading:
    return Reading(arrival.fetched_bytes, arrival.present_bytes, arrival.reused_bytes, arrival.waited_ns)


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
