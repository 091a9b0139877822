"""Weights files: the safetensors header that is written, and the file that is opened.

The promise, for the first half: whatever tensors a module has, the header that `layout.plan` writes for them is one
that the safetensors library reads, with each tensor where it was planned, on a boundary of 64 bytes of the file.

For the second: a file is in the store, and mapped, only if it is byte for byte what was packed; anything else is
an error, and never has its place there. Nothing in Instar parses the header of a stranger's file: the package says
where each tensor lies, and that, too, holds only inside the file.

The input is a JSON list of [name, dtype, shape] for the first half, anything else is a weights file for the second.
"""

from __future__ import annotations

import json
import math
import shutil
import threading
from collections.abc import Iterable
from functools import cache
from random import Random
from typing import Any

import torch
from safetensors import deserialize

from instar.errors import PackageError, PackError, SourceError
from instar.executor import live, load, prepare
from instar.weights import layout
from instar.weights.fetch import Fetcher
from instar.weights.manifest import WEIGHTS_FILE
from instar.weights.store import Store
from tests.fuzz import mutations, packages
from tests.fuzz.targets import Target

MAX_BYTES = 1 << 16
WORDS = (*layout.DTYPES, "instar.pad.0", "__metadata__", "weight")


def check(data: bytes) -> None:
    try:
        extents = _extents(json.loads(data))
    except (ValueError, RecursionError):
        extents = None
    if extents is None:
        _check_file(data)
    else:
        _check_header(extents)


def _check_header(extents: list[layout.Extent]) -> None:
    try:
        planned = layout.plan(extents)
    except PackError:
        assert any(extent.dtype not in layout.DTYPES for extent in extents)
        return
    content = {extent.name: bytes([index % 255 + 1]) * extent.nbytes for index, extent in enumerate(extents)}
    file = bytearray(planned.size)
    file[: len(planned.header)] = planned.header
    for extent, offset in zip(extents, planned.offsets, strict=True):
        assert offset % layout.ALIGNMENT == 0
        file[offset : offset + extent.nbytes] = content[extent.name]
    found = {
        name: info
        for name, info in deserialize(bytes(file))  # type: ignore[no-untyped-call]
        if not name.startswith(layout.PAD_PREFIX)
    }
    assert found.keys() == content.keys()
    for extent in extents:
        info = found[extent.name]
        assert (tuple(info["shape"]), info["dtype"]) == (extent.shape, layout.DTYPES[extent.dtype][0])
        assert bytes(info["data"]) == content[extent.name]


def _extents(document: Any) -> list[layout.Extent] | None:
    """What a module's tensors can be; names that `packing` gives are unique, no padding's, and UTF-8."""
    if not isinstance(document, list):
        return None
    extents: dict[str, layout.Extent] = {}
    for item in document:
        match item:
            case [str(name), str(dtype), [*shape]] if all(type(n) is int and 0 <= n < 2**20 for n in shape):
                nbytes = math.prod(shape) * layout.DTYPES.get(dtype, ("", 1))[1]
                reserved = name.startswith(layout.PAD_PREFIX) or name == "__metadata__"
                if nbytes <= MAX_BYTES and not reserved and len(shape) <= 64:
                    name = name.encode("utf-8", "replace").decode()
                    extents[name] = layout.Extent(name, dtype, tuple(shape), nbytes)
            case _:
                return None
    return list(extents.values())


def _check_file(data: bytes) -> None:
    prepared, whole = _packed()
    place = packages.folder() / "opened"
    place.mkdir()
    try:
        (place / WEIGHTS_FILE).write_bytes(data)
        fetcher = Fetcher(Store(place / "store"))
        try:
            model = live.LiveModel(prepared, lambda: fetcher.begin(prepared.weights, place / WEIGHTS_FILE), load.bind)
            model.wait()
        except (PackageError, SourceError):
            assert data != whole
            assert not list(fetcher.store.root.glob("weights/*"))
        else:
            assert data == whole
            assert model.run({"x": torch.zeros(1, 3, 16, 16)})
            model.close()
        finally:
            fetcher.close()
            # A whole file may still be on its way to its place.
            while at_work := [thread for thread in threading.enumerate() if thread.name == "instar-fetch"]:
                at_work[0].join()
    finally:
        shutil.rmtree(place)


@cache
def _packed() -> tuple[prepare.Prepared, bytes]:
    folder = packages.packed()["net"]
    return load.structure(folder, store=Store(packages.folder() / "store")), (folder / WEIGHTS_FILE).read_bytes()


def seeds() -> Iterable[bytes]:
    yield (packages.packed()["net"] / WEIGHTS_FILE).read_bytes()
    yield (packages.packed()["named"] / WEIGHTS_FILE).read_bytes()
    yield json.dumps([[f"layer.{dtype}", dtype, [3, 5]] for dtype in layout.DTYPES]).encode()
    yield json.dumps([["a", "float32", [7]], ["b", "uint8", []], ["c", "int64", [0, 4]], ["d", "bool", [1]]]).encode()


def mutate(random: Random, data: bytes) -> bytes | None:
    return mutations.change(random, data, words=WORDS)


TARGET = Target(check, seeds, mutate)
