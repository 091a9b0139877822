"""Packages to measure with: like any other to whoever loads them, and made in no time.

The rule: nothing about them is pretended. Their weights are in the store under the digest of their content, their
tensors have digests of their own, and all of it lies in memory as what was loaded lately does. Only that most of the
bytes are zeros, for which no disk needs space: what takes time here depends on their number, not on their values.
"""

from __future__ import annotations

import mmap
import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from instar import digests, package
from instar.executor.profiling import architectures
from instar.graph.ir import Graph
from instar.package import MODEL_FILE, Package, Tensor
from instar.plan.outline import Outline, outline
from instar.weights import layout
from instar.weights.layout import Extent
from instar.weights.manifest import Weights
from instar.weights.store import Store

MARK_BYTES = 64  # random ones at the beginning of a tensor, so that no two are equal


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A package on the disk with its weights in a store, what the planner sees of it, and what to call it with."""

    name: str
    folder: Path
    outline: Outline
    inputs: dict[str, torch.Tensor]

    def __repr__(self) -> str:
        return f"<Subject {self.name}: {self.outline!r}>"


def make(name: str, graph: Graph, folder: Path, store: Store, *, seed: int) -> Subject:
    """A package in a new folder; the same seed gives the same weights. Raises `OSError` if there is no space."""
    extents = [Extent(f"w{i}", t.dtype, _sizes(t.shape), _nbytes(t.shape)) for i, t in enumerate(graph.weights)]
    plan = layout.plan(extents)
    rng = random.Random(seed)
    content = [rng.randbytes(MARK_BYTES) for _ in extents]
    weights, tensors = _write(extents, plan, content, store)
    made = Package(architectures.signature(graph), graph, tensors, weights, "instar profile")
    folder.mkdir(parents=True)
    (folder / MODEL_FILE).write_bytes(package.encode(made))
    return Subject(name, folder, outline(made), inputs(made))


def inputs(given: Package) -> dict[str, torch.Tensor]:
    """Zeros for each input, as few as the package's bounds allow."""
    bounds = dict(given.signature.dims)
    return {
        port.name: torch.zeros(
            [bounds[n].min if isinstance(n, str) else n for n in port.type.shape],
            dtype=getattr(torch, port.type.dtype),
        )
        for port in given.signature.inputs
    }


def _write(
    extents: Sequence[Extent], plan: layout.Layout, content: Sequence[bytes], store: Store
) -> tuple[Weights, tuple[Tensor, ...]]:
    """A weights file in its place in the store, and all of it in memory."""
    incoming = store.root / "incoming.profile"
    incoming.parent.mkdir(parents=True, exist_ok=True)
    with incoming.open("w+b") as file:
        file.truncate(plan.size)
        os.pwrite(file.fileno(), plan.header, 0)
        for extent, offset, data in zip(extents, plan.offsets, content, strict=True):
            os.pwrite(file.fileno(), data[: extent.nbytes], offset)
        with mmap.mmap(file.fileno(), plan.size, prot=mmap.PROT_READ) as mapped, memoryview(mapped) as view:
            chunks = tuple(
                digests.hexdigest(view[at : at + layout.CHUNK_BYTES])
                for at in range(0, plan.size, layout.CHUNK_BYTES)
            )
            tensors = tuple(
                Tensor(
                    e.name,
                    e.dtype,
                    e.shape,
                    _strides(e.shape),
                    at,
                    e.nbytes,
                    digests.hexdigest(view[at : at + e.nbytes]),
                )
                for e, at in zip(extents, plan.offsets, strict=True)
            )
    weights = Weights(plan.size, layout.CHUNK_BYTES, chunks)
    place = store.place(weights.digest)
    place.parent.mkdir(parents=True, exist_ok=True)
    place.with_suffix(".chunks").write_bytes(weights.account)
    incoming.chmod(0o444)
    incoming.rename(place)
    return weights, tensors


def _sizes(shape: Sequence[int | str]) -> tuple[int, ...]:
    return tuple(int(n) for n in shape)


def _nbytes(shape: Sequence[int | str]) -> int:
    product = 4
    for size in _sizes(shape):
        product *= size
    return product


def _strides(shape: Sequence[int]) -> tuple[int, ...]:
    strides = [1]
    for size in reversed(shape[1:]):
        strides.insert(0, strides[0] * size)
    return tuple(strides[: len(shape)])
