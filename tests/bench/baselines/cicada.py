"""Cicada as published (2025), on modules: placeholders, decoupled weights, priority for what is waited for.

    main thread    MiniLoader: builds the module with one bit a parameter instead of initialised ones, then runs it
    retrievers     WeightDecoupler: ranges of the file, known before any layer exists, read as soon as possible
    applier        binds whichever layer is there, in any order, once the module is built

Priority-aware scheduler: when the running module waits for a layer, that layer's ranges come next, and others may
have `OTHERS` reads in flight until it goes on.

Where its publication leaves room, the faster way was taken: modules are built on the meta device, so that
initialisers do nothing, and the ranges lie in execution order in one file, which is read into one piece of memory
that the parameters become views of.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass

import torch

from tests.bench.baselines import layers
from tests.bench.baselines.assigned import on_meta
from tests.bench.baselines.origin import Origin
from tests.bench.baselines.threads import WAIT_S, Thread, wait

RETRIEVERS = 2
OTHERS = 1  # reads in flight of what nobody waits for, while somebody waits
RANGE_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Ranges:
    """How a file is cut, and which ranges each layer lies in, the layers that it shares tensors with included."""

    spans: tuple[tuple[int, int], ...]
    of_layer: tuple[frozenset[int], ...]


def cut(checkpoint: layers.Checkpoint, nbytes: int = RANGE_BYTES) -> Ranges:
    own = [
        frozenset(range(layer.begin // nbytes, max(layer.begin, layer.end - 1) // nbytes + 1))
        if layer.tensors
        else frozenset()
        for layer in checkpoint.layers
    ]
    size = checkpoint.size
    return Ranges(
        spans=tuple((begin, min(size, begin + nbytes)) for begin in range(0, size, nbytes)),
        of_layer=tuple(
            frozenset().union(ranges, *(own[other] for other in layer.shares_with))
            for ranges, layer in zip(own, checkpoint.layers, strict=True)
        ),
    )


class Scheduler:
    """Which range is read next. Shared by all threads; owns who waits for what and what has arrived."""

    def __init__(self, ranges: Ranges) -> None:
        self._ranges = ranges
        self._changed = threading.Condition()
        self._pending: dict[int, None] = dict.fromkeys(range(len(ranges.spans)))
        self._in_flight: set[int] = set()
        self._awaited: frozenset[int] = frozenset()
        self._missing = [set(found) for found in ranges.of_layer]
        self.complete: queue.SimpleQueue[int] = queue.SimpleQueue()
        for number, missing in enumerate(self._missing):
            if not missing:
                self.complete.put(number)

    def next(self) -> int | None:
        """The number of a range to read now; waits while none may be; nothing when all have been given out."""
        with self._changed:
            while self._pending:
                found = self._choose()
                if found is not None:
                    del self._pending[found]
                    self._in_flight.add(found)
                    return found
                if not self._changed.wait(WAIT_S):
                    raise TimeoutError("no range became free")
            return None

    def _choose(self) -> int | None:
        for number in self._awaited:
            if number in self._pending:
                return number
        if self._awaited and len(self._in_flight - self._awaited) >= OTHERS:
            return None
        return next(iter(self._pending))

    def arrived(self, number: int) -> None:
        with self._changed:
            self._in_flight.discard(number)
            for layer, missing in enumerate(self._missing):
                if number in missing:
                    missing.discard(number)
                    if not missing:
                        self.complete.put(layer)
            self._changed.notify_all()

    def awaits(self, layer: int | None) -> None:
        """The module waits for a layer, or goes on."""
        with self._changed:
            self._awaited = frozenset() if layer is None else self._ranges.of_layer[layer]
            self._changed.notify_all()


def answer(
    origin: Origin,
    checkpoint: layers.Checkpoint,
    ranges: Ranges,
    build: Callable[[], torch.nn.Module],
    run: Callable[[torch.nn.Module], torch.Tensor],
    *,
    unsaved: Mapping[str, torch.Tensor],
) -> torch.Tensor:
    """The first answer. `unsaved` are the buffers that no file holds, as in `assigned`."""
    scheduler = Scheduler(ranges)
    buffer, view = layers.memory(checkpoint.size)
    applied = [threading.Event() for _ in checkpoint.layers]
    built = threading.Event()
    module: list[torch.nn.Module] = []

    def retrieve() -> None:
        reader = origin.reader()
        try:
            while (number := scheduler.next()) is not None:
                begin, end = ranges.spans[number]
                reader.ask(begin, end - begin)
                reader.take(view[begin:end])
                scheduler.arrived(number)
        finally:
            reader.close()

    def apply() -> None:
        wait(built)
        parts = dict(module[0].named_modules(remove_duplicate=False))
        for _ in checkpoint.layers:
            number = scheduler.complete.get(timeout=WAIT_S)
            # Layers that it shares tensors with have arrived, if perhaps not been bound: binding twice does no harm.
            for other in (*checkpoint.layers[number].shares_with, number):
                layers.bind(parts, checkpoint.layers[other], buffer, 0)
            applied[number].set()

    def waited(number: int) -> None:
        if not applied[number].is_set():
            scheduler.awaits(number)
            wait(applied[number])
            scheduler.awaits(None)

    with ExitStack() as threads:
        for number in range(RETRIEVERS):
            threads.enter_context(Thread(f"retriever {number}", retrieve))
        threads.enter_context(Thread("applier", apply))
        module.append(on_meta(build, unsaved))
        _place_bits(module[0], unsaved)
        layers.lock(module[0], checkpoint.layers, waited)
        built.set()
        return run(module[0])


def _place_bits(module: torch.nn.Module, unsaved: Mapping[str, torch.Tensor]) -> None:
    """MiniLoader: a parameter begins as one bit for each of its elements."""
    for name, part in module.named_modules():
        for key, parameter in part._parameters.items():
            if parameter is not None:
                part._parameters[key] = torch.nn.Parameter(_bits(parameter), requires_grad=False)
        for key, buffer in part._buffers.items():
            if buffer is not None and (f"{name}.{key}" if name else key) not in unsaved:
                part._buffers[key] = _bits(buffer)


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    return torch.zeros(-(-tensor.numel() // 8), dtype=torch.uint8)
