"""A module's layers in the order in which they run, and a file that holds their tensors in that order.

What PISeL and Cicada know of a model before any request: both partition or index the checkpoint offline. A layer is a
module that owns parameters or persistent buffers itself. The order is the one in which a forward pass calls them;
what it never calls comes first, for nobody knows when its tensors are used.

The rule: a tensor lies in the file once, with the layer that needs it first, under each of its names. A layer is
complete when all tensors of its own names are there, whichever layer they lie with.
"""

from __future__ import annotations

import mmap
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from instar.weights import layout, writer


@dataclass(frozen=True, slots=True)
class Slot:
    """One name of a tensor: the attribute of a module."""

    module: str
    attribute: str
    is_parameter: bool


@dataclass(frozen=True, slots=True)
class Stored:
    """A tensor of the file, and every slot that it belongs into."""

    offset: int
    nbytes: int
    dtype: torch.dtype
    shape: tuple[int, ...]
    slots: tuple[Slot, ...]


@dataclass(frozen=True, slots=True)
class Layer:
    """A module that owns tensors: those that lie with it in the file, and which layers hold the others it needs.

    `locked` is the module before which the layer must be complete: the same, or the whole where it is never called.
    """

    module: str
    locked: str
    tensors: tuple[Stored, ...]
    shares_with: tuple[int, ...]

    @property
    def begin(self) -> int:
        return self.tensors[0].offset if self.tensors else 0

    @property
    def end(self) -> int:
        return self.tensors[-1].offset + self.tensors[-1].nbytes if self.tensors else 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A file of layers and what it holds."""

    path: Path
    size: int
    layers: tuple[Layer, ...]


def write(module: torch.nn.Module, run: Callable[[], object], path: Path) -> Checkpoint:
    """Write the tensors of a module's state in the order in which `run`, a forward pass of it, calls its layers."""
    called, names = _in_running_order(module, run)
    persistent = set(module.state_dict(keep_vars=True))
    home: dict[int, int] = {}  # of a tensor -> the layer that it lies with
    own: list[list[torch.Tensor]] = []
    slots: dict[int, list[Slot]] = {}
    needs: list[set[int]] = []
    for number, name in enumerate(names):
        part = module.get_submodule(name)
        found: list[torch.Tensor] = []
        needs.append(set())
        tensors: list[tuple[str, torch.Tensor, bool]] = [
            (key, p, True) for key, p in part._parameters.items() if p is not None
        ]
        tensors += [
            (key, b, False)
            for key, b in part._buffers.items()
            if b is not None and (f"{name}.{key}" if name else key) in persistent
        ]
        for key, tensor, is_parameter in tensors:
            if id(tensor) not in home:
                home[id(tensor)] = number
                found.append(tensor)
            needs[-1].add(home[id(tensor)])
            slots.setdefault(id(tensor), []).append(Slot(name, key, is_parameter))
        own.append(found)
    every = [tensor for found in own for tensor in found]
    extents = [
        layout.Extent(str(number), str(t.dtype).removeprefix("torch."), tuple(t.shape), t.numel() * t.element_size())
        for number, t in enumerate(every)
    ]
    plan = layout.plan(extents)
    writer.write(path, plan, (_bytes(t) for t in every))
    places = {id(t): (offset, e.nbytes) for t, offset, e in zip(every, plan.offsets, extents, strict=True)}
    return Checkpoint(
        path,
        plan.size,
        tuple(
            Layer(
                module=name,
                locked=name if name in called else "",
                tensors=tuple(Stored(*places[id(t)], t.dtype, tuple(t.shape), tuple(slots[id(t)])) for t in found),
                shares_with=tuple(sorted(need - {number})),
            )
            for number, (name, found, need) in enumerate(zip(names, own, needs, strict=True))
        ),
    )


def bind(parts: Mapping[str, torch.nn.Module], layer: Layer, buffer: torch.Tensor, start: int) -> None:
    """Put each tensor of a layer into its slots: a view of `buffer`, the file's bytes from byte `start` on."""
    for stored in layer.tensors:
        begin = stored.offset - start
        tensor = buffer[begin : begin + stored.nbytes].view(stored.dtype).view(stored.shape)
        parameter = None
        for slot in stored.slots:
            if slot.is_parameter:
                parameter = parameter if parameter is not None else torch.nn.Parameter(tensor, requires_grad=False)
                parts[slot.module]._parameters[slot.attribute] = parameter
            else:
                parts[slot.module]._buffers[slot.attribute] = tensor


def lock(module: torch.nn.Module, layers: Sequence[Layer], wait: Callable[[int], object]) -> None:
    """Before a layer runs, `wait` is called with its number. Modules without tensors get no lock at all."""
    for number, layer in enumerate(layers):
        module.get_submodule(layer.locked).register_forward_pre_hook(_waiting(wait, number))


def _waiting(wait: Callable[[int], object], number: int) -> Callable[[torch.nn.Module, Any], None]:
    def hook(module: torch.nn.Module, arguments: Any) -> None:
        wait(number)

    return hook


def memory(nbytes: int) -> tuple[torch.Tensor, memoryview]:
    """Bytes to read into, as both, not yet touched; in large pages where the kernel has them: faults cost most."""
    mapping = mmap.mmap(-1, max(nbytes, 1), mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    mapping.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(mapping, dtype=torch.uint8), memoryview(mapping)


def seconds(module: torch.nn.Module, layers: Sequence[Layer], run: Callable[[], object]) -> list[float]:
    """What a pass takes from the beginning of each layer to that of the next one; for the last, to the end."""
    marks: dict[str, float] = {}
    with _before(
        module, {layer.locked for layer in layers}, lambda name: marks.setdefault(name, time.perf_counter())
    ):
        run()
        end = time.perf_counter()
    times = [marks[layer.locked] for layer in layers]
    return [after - before for before, after in zip(times, [*times[1:], end], strict=True)]


def _in_running_order(module: torch.nn.Module, run: Callable[[], object]) -> tuple[set[str], list[str]]:
    """The submodules that `run` calls, and all that own tensors of the state in the order of their first call."""
    owners = {name.rpartition(".")[0] for name in module.state_dict(keep_vars=True)}
    called: dict[str, None] = {}
    with _before(module, owners, called.setdefault):
        run()
    return set(called), [*sorted(owners - called.keys()), *called]


@contextmanager
def _before(module: torch.nn.Module, names: Iterable[str], note: Callable[[str], object]) -> Iterator[None]:
    """While this lasts, `note` is told the name of each of these submodules before it runs."""

    def telling(name: str) -> Callable[[torch.nn.Module, Any], None]:
        def hook(part: torch.nn.Module, arguments: Any) -> None:
            note(name)

        return hook

    hooks = [module.get_submodule(name).register_forward_pre_hook(telling(name)) for name in names]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _bytes(tensor: torch.Tensor) -> memoryview:
    return memoryview(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy().data)
