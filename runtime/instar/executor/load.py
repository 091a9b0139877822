"""A package becomes a live model: prepare, map, bind.

Structure is read back from what this node compiled before, weights are one mapping, and binding is one view a
tensor. No byte of the weights is copied, and none is read before an operator asks for it.
"""

from __future__ import annotations

import mmap
import os
import warnings
from pathlib import Path

import torch

from instar.errors import DigestError
from instar.executor.live import LiveModel
from instar.executor.prepare import Prepared, prepare
from instar.package import MODEL_FILE
from instar.weights.store import Store


def load(package_dir: Path, *, store: Store) -> LiveModel:
    """Load the model package in a folder, its weights by way of the node's store.

    Raises `PackageError` if the package is damaged or forged, `SourceError` if its weights cannot be had.
    """
    prepared = structure(package_dir, store=store)
    return bind(prepared, store.weights(prepared.weights, package_dir))


def structure(package_dir: Path, *, store: Store) -> Prepared:
    """Only the structure of a package: what can be had before, and without, its weights."""
    return prepare(package_dir / MODEL_FILE, store.root / "compiled")


def bind(prepared: Prepared, weights: Path) -> LiveModel:
    """Map a file of the store and bind each tensor to its place in it."""
    mapping = _map(weights, prepared.weights.size)
    return LiveModel(prepared, mapping, views(prepared, mapping))


def views(prepared: Prepared, mapping: mmap.mmap) -> list[torch.Tensor]:
    """One tensor for each weight, all of them in the memory of `mapping`."""
    with warnings.catch_warnings(), torch.inference_mode():
        # The mapping is read-only on purpose; torch warns that writing to it would crash.
        warnings.simplefilter("ignore", UserWarning)
        whole = torch.frombuffer(mapping, dtype=torch.uint8)
        of_dtype: dict[str, torch.Tensor] = {}
        for dtype in {view[0] for view in prepared.views}:
            kind = getattr(torch, dtype)
            usable = len(mapping) // kind.itemsize * kind.itemsize
            of_dtype[dtype] = whole[:usable].view(kind)
        as_strided = torch.as_strided
        return [as_strided(of_dtype[dtype], shape, strides, at) for dtype, shape, strides, at in prepared.views]


def _map(path: Path, size: int) -> mmap.mmap:
    with path.open("rb") as file:
        found = os.fstat(file.fileno()).st_size
        if found != size:
            raise DigestError(f"{path} has {found} bytes instead of {size}; remove it, so that it is fetched again")
        return mmap.mmap(file.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ)
