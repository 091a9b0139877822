"""Weights files of random bytes, what a package would say of them, and what of them a store shows at a moment."""

from __future__ import annotations

import os
import random
from pathlib import Path

from instar import digests
from instar.weights.manifest import Weights
from instar.weights.store import Store

CHUNK = 4096


def made(path: Path, nbytes: int, *, seed: int = 0, chunk_bytes: int = CHUNK) -> Weights:
    """Write a file; what a package would say of it."""
    data = random.Random(seed).randbytes(nbytes)
    path.write_bytes(data)
    chunks = tuple(digests.hexdigest(data[at : at + chunk_bytes]) for at in range(0, nbytes, chunk_bytes))
    return Weights(nbytes, chunk_bytes, chunks)


def arrived(store: Store, weights: Weights) -> set[int]:
    """The chunks that the store shows to whoever opens it, each of them held against its digest."""
    if store.place(weights.digest).exists():
        assert read(store.place(weights.digest)) == weights.chunks, "a file in its place is whole and right"
        return set(range(len(weights.chunks)))
    partial = store.existing(weights)
    if partial is None:
        return set()
    try:
        shown = {number for number, flag in enumerate(bytes(partial.map.flags)) if flag}
        wrong = [number for number in shown if partial.digest(number) != weights.chunks[number]]
        assert not wrong, f"chunks {wrong} are shown and are not what was packed"
        return shown
    finally:
        partial.close()


def nbytes_of(weights: Weights, chunks: set[int]) -> int:
    return sum(min(weights.chunk_bytes, weights.size - n * weights.chunk_bytes) for n in chunks)


def read(path: Path, chunk_bytes: int = CHUNK) -> tuple[str, ...]:
    """The digests of a file's chunks as they are."""
    data = path.read_bytes()
    return tuple(digests.hexdigest(data[at : at + chunk_bytes]) for at in range(0, len(data), chunk_bytes))


def leftovers(store: Store) -> list[str]:
    """Whatever is in a store besides whole files with what belongs to them."""
    found = [name for name in os.listdir(store.root / "incoming")]
    for name in os.listdir(store.root / "weights"):
        if name.startswith(".") or not (store.root / "weights" / name.partition(".")[0]).exists():
            found.append(name)
    return found
