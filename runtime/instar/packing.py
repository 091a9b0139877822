"""A module becomes a package: trace, lay out, write, and only then show it under its name.

The one rule: the target folder appears whole or not at all. Everything is written into a temporary folder beside it
that takes its name at the end, and that is removed if anything fails.
"""

from __future__ import annotations

import inspect
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from instar.errors import PackError
from instar.graph import export
from instar.graph.signature import Bounds
from instar.package import MODEL_FILE, Package, Tensor, encode
from instar.version import VERSION
from instar.weights import layout, writer
from instar.weights.manifest import WEIGHTS_FILE, Weights

Progress = Callable[[str, int, int], object]  # what is being done, bytes done, bytes in all


def pack(
    module: torch.nn.Module | torch.export.ExportedProgram,
    example_inputs: Mapping[str, torch.Tensor] | Sequence[torch.Tensor] | torch.Tensor,
    out: str | Path,
    *,
    dims: Mapping[str, Mapping[int, str]] | None = None,
    bounds: Mapping[str, tuple[int, int]] | None = None,
    weights_uri: str | None = None,
    overwrite: bool = False,
    progress: Progress = lambda *_: None,
) -> Package:
    """Pack a module, or a program that `torch.export` traced, into the folder `out`; return what was written.

    `example_inputs` are tensors of the right dtype and shape, by the parameter names of `forward` or in their
    order; their values do not matter. `dims={"x": {0: "batch"}}` makes axis 0 of `x` dynamic, `bounds={"batch":
    (1, 64)}` says which sizes it may have. `weights_uri` is where the weights will lie for those who load the
    package; the file is written into `out` all the same, to be put there.

    Raises `PackError`, saying what to change; then nothing is left at `out`.
    """
    out = Path(out)
    if out.exists() and not overwrite:
        raise PackError(f"{out} exists already; remove it, choose another name, or ask to overwrite it")
    if isinstance(module, torch.export.ExportedProgram):
        if bounds:
            raise PackError("a traced program has its bounds already; trace it again to change them")
        exported = export.from_program(module, dims)
    else:
        inputs = _named(module, example_inputs)
        axes = _with_dynamic_sizes(inputs, dims or {}, bounds or {})
        exported = export.export(module, inputs, axes, _bounds(bounds))
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        raise PackError(f"{out} cannot be written ({error.strerror}); choose a folder that you may write") from error
    try:
        package = _write(exported, folder, weights_uri, progress)
        folder.chmod(0o755)
        if out.exists():
            _replace(folder, out)
        else:
            folder.rename(out)
    except OSError as error:
        raise PackError(
            f"{out} cannot be written ({error.strerror}); free some space or choose another folder"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return package


def _write(exported: export.Exported, folder: Path, weights_uri: str | None, progress: Progress) -> Package:
    stored = [_physical(name, tensor) for name, tensor in _unique_names(exported.tensors)]
    extents = [
        layout.Extent(name, str(t.dtype).removeprefix("torch."), tuple(t.shape), t.numel() * t.element_size())
        for name, t in stored
    ]
    plan = layout.plan(extents)
    done = 0

    def report(count: int) -> None:
        nonlocal done
        done += count
        progress("write", done, plan.size)

    written = writer.write(folder / WEIGHTS_FILE, plan, (_bytes(t) for _, t in stored), report)
    package = Package(
        signature=exported.signature,
        graph=exported.graph,
        tensors=tuple(
            Tensor(
                name=extent.name,
                dtype=extent.dtype,
                shape=tuple(tensor.shape),
                strides=_strides(tensor),
                offset=offset,
                nbytes=extent.nbytes,
                digest=digest,
            )
            for extent, offset, digest, (_, tensor) in zip(
                extents, plan.offsets, written.tensors, exported.tensors, strict=True
            )
        ),
        weights=Weights(written.size, layout.CHUNK_BYTES, written.chunks, weights_uri),
        producer=f"instar {VERSION}, torch {torch.__version__}",
    )
    with (folder / MODEL_FILE).open("xb") as file:
        file.write(encode(package))
        file.flush()
        os.fsync(file.fileno())
    return package


def _replace(folder: Path, out: Path) -> None:
    """Put a finished folder in the place of an old package. Refuses a folder that is something else."""
    if not (out / MODEL_FILE).is_file():
        raise PackError(f"{out} is no model package, so it is not overwritten; choose another name")
    old = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}.old."))
    os.replace(out, old)
    folder.rename(out)
    shutil.rmtree(old, ignore_errors=True)


def _named(
    module: torch.nn.Module, inputs: Mapping[str, torch.Tensor] | Sequence[torch.Tensor] | torch.Tensor
) -> dict[str, torch.Tensor]:
    signature = inspect.signature(module.forward)
    try:
        if isinstance(inputs, Mapping):
            signature.bind(**inputs)
            return dict(inputs)
        given = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        return dict(signature.bind(*given).arguments)
    except TypeError as error:
        raise PackError(
            f"the inputs are not the parameters of forward{signature}: {error}; name each as forward() does"
        ) from None


def _with_dynamic_sizes(
    inputs: dict[str, torch.Tensor], dims: Mapping[str, Mapping[int, str]], bounds: Mapping[str, tuple[int, int]]
) -> dict[str, Mapping[int, str]]:
    """Check names and axes, and give dynamic axes an example size that torch does not take for a fixed one.

    torch takes sizes 0 and 1 as fixed, and two dimensions of equal size are easily taken for the same one.
    """
    sizes: dict[str, int] = {}
    for number, (name, (low, high)) in enumerate(bounds.items()):
        if not 0 <= low <= high:
            raise PackError(f"dimension {name!r} has the bounds {low}…{high}; the least size comes first, from 0")
        sizes[name] = max(low, min(high, 2 + number))
        if high < 2:
            raise PackError(f"dimension {name!r} may only be {low}…{high}; give it a fixed size")
    for input_, axes in dims.items():
        if input_ not in inputs:
            raise PackError(f"there is no input {input_!r}; the model has {', '.join(inputs)}")
        tensor = inputs[input_]
        shape = list(tensor.shape)
        for axis, name in axes.items():
            if name not in sizes:
                raise PackError(f"dimension {name!r} of input {input_!r} has no bounds; declare them, such as 1..64")
            if not 0 <= axis < len(shape):
                raise PackError(f"input {input_!r} has {len(shape)} dimensions; there is no axis {axis}")
            shape[axis] = sizes[name]
        inputs[input_] = torch.zeros(shape, dtype=tensor.dtype)
    unused = set(bounds) - {name for axes in dims.values() for name in axes.values()}
    if unused:
        raise PackError(f"no input has the dimension {', '.join(sorted(unused))}; remove it or name it in dims")
    return dict(dims)


def _bounds(bounds: Mapping[str, tuple[int, int]] | None) -> dict[str, Bounds]:
    return {name: Bounds(low, high) for name, (low, high) in (bounds or {}).items()}


def _unique_names(tensors: Sequence[tuple[str, torch.Tensor]]) -> Iterator[tuple[str, torch.Tensor]]:
    """Names as they are, with a number behind one that a different tensor already has or that padding would take."""
    seen: set[str] = set()
    for name, tensor in tensors:
        unique, number = name, 0
        while unique in seen or unique.startswith(layout.PAD_PREFIX) or unique == "__metadata__":
            number += 1
            unique = f"{name}.{number}"
        seen.add(unique)
        yield unique, tensor


def _is_dense(tensor: torch.Tensor) -> bool:
    """Whether the strides are those of a contiguous tensor with its dimensions in another order."""
    expected = 1
    for stride, size in sorted((s, n) for n, s in zip(tensor.shape, tensor.stride(), strict=True) if n != 1):
        if stride != expected:
            return False
        expected *= size
    return True


def _strides(tensor: torch.Tensor) -> tuple[int, ...]:
    """The strides that the packed tensor will have: its own if it fills its memory, else those of a copy."""
    return tuple(tensor.stride()) if _is_dense(tensor) else tuple(tensor.contiguous().stride())


def _physical(name: str, tensor: torch.Tensor) -> tuple[str, torch.Tensor]:
    """The tensor with its dimensions in the order in which they lie in memory: contiguous, same bytes."""
    tensor = tensor.detach().cpu()
    if tensor.is_contiguous() or not _is_dense(tensor):
        return name, tensor.contiguous()
    strides = tensor.stride()
    order = sorted(range(tensor.dim()), key=lambda axis: (-strides[axis], -tensor.shape[axis]))
    return name, tensor.permute(order).contiguous()


def _bytes(tensor: torch.Tensor) -> memoryview:
    if tensor.numel() == 0:
        return memoryview(b"")
    return memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data)
