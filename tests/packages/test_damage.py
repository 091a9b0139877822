"""Invariant: a damaged or forged package is refused with a clear error; nothing of it is ever run or served."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from instar.errors import DigestError, GraphError, PackageError, SourceError
from instar.executor.load import load
from instar.package import decode
from instar.weights.store import Store

Packed = tuple[torch.nn.Module, Path]
Copy = Callable[[], Path]
SEED = 20261


@pytest.mark.parametrize("keep", [0, 1, 7, 100, 0.5, 0.99])
@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_a_file_cut_short_is_refused(copy: Copy, store: Store, name: str, keep: float) -> None:
    path = copy() / name
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(PackageError if name == "model.json" else SourceError):
        load(path.parent, store=store)
    assert not list(store.root.glob("weights/*"))


@pytest.mark.parametrize("name", ["model.json", "model.safetensors"])
def test_one_flipped_bit_anywhere_is_refused(copy: Copy, store: Store, packed: Packed, name: str) -> None:
    print("seed", SEED)
    generator = random.Random(SEED)
    package = decode((packed[1] / "model.json").read_bytes())
    data = (packed[1] / name).read_bytes()
    for _ in range(60):
        place = generator.randrange(len(data))
        damaged = bytearray(data)
        damaged[place] ^= 1 << generator.randrange(8)
        if name == "model.json":
            # The digests cover what the document means: a flip that leaves the meaning alone may pass.
            try:
                found = decode(bytes(damaged))
            except PackageError:
                continue
            assert (found.digest, found.graph) == (package.digest, package.graph), place
        else:
            path = copy() / name
            path.write_bytes(bytes(damaged))
            with pytest.raises(DigestError, match="damaged"):
                load(path.parent, store=store)


def test_a_weights_file_that_is_too_long_is_refused(copy: Copy, store: Store) -> None:
    path = copy() / "model.safetensors"
    path.write_bytes(path.read_bytes() + b"more")
    with pytest.raises(SourceError, match="more than the"):
        load(path.parent, store=store)


def test_missing_files_are_named(copy: Copy, store: Store, tmp_path: Path) -> None:
    directory = copy()
    (directory / "model.safetensors").unlink()
    with pytest.raises(SourceError, match=r"model\.safetensors"):
        load(directory, store=store)
    with pytest.raises(PackageError, match=r"is .* a model package"):
        load(tmp_path / "nothing", store=store)


def test_a_store_that_cannot_be_written_is_named(packed: Packed) -> None:
    with pytest.raises(SourceError, match="INSTAR_STORE"):
        load(packed[1], store=Store(Path("/proc/nowhere")))


def _edit(directory: Path, change: Callable[[dict[str, Any]], object]) -> bytes:
    document = json.loads((directory / "model.json").read_bytes())
    change(document)
    data = json.dumps(document).encode()
    (directory / "model.json").write_bytes(data)
    return data


FORGED: dict[str, tuple[Callable[[dict[str, Any]], object], type[PackageError], str]] = {
    "an operator outside the list": (
        lambda d: d["graph"]["nodes"][0].__setitem__(0, "aten.from_file.default"), GraphError, "not on the list"),
    "a call of Python": (lambda d: d["graph"]["nodes"][0].__setitem__(0, "py.eval"), GraphError, "not on the list"),
    "a cycle": (lambda d: d["graph"]["nodes"][0][1].__setitem__(0, "%1"), GraphError, "not defined before"),
    "another constant": (lambda d: d["graph"]["nodes"][0][1].__setitem__(3, [2, 2]), DigestError, "changed"),
    "another version": (lambda d: d.__setitem__("version", 1), PackageError, "pack the model again"),
    "another format": (lambda d: d.__setitem__("format", "onnx"), PackageError, "not a model package"),
    "a key too many": (lambda d: d.__setitem__("code", "import os"), PackageError, "keys"),
    "an input renamed": (lambda d: d["signature"]["inputs"][0].__setitem__(0, "y"), DigestError, "changed"),
    "a name that is code": (
        lambda d: d["signature"]["inputs"][0].__setitem__(0, "x):import os"), PackageError, "no name"),
    "a tensor outside the file": (lambda d: d["tensors"][0].__setitem__(4, 2**40), PackageError, "outside"),
    "a tensor off its boundary": (lambda d: d["tensors"][0].__setitem__(4, 65), PackageError, "multiple of 64"),
    "strides that reach too far": (
        lambda d: d["tensors"][0].__setitem__(3, [2**40, 9, 3, 1]), PackageError, "does not fit"),
    "a shape that does not fit": (lambda d: d["tensors"][0].__setitem__(2, [4, 3, 3, 4]), PackageError, "not fit"),
    "a tensor fewer": (lambda d: d["tensors"].pop(), GraphError, "weights"),
    "a huge dimension": (
        lambda d: d["signature"]["dims"][0].__setitem__(2, 2**62), PackageError, "hold no size"),
    "no finite dimension": (
        lambda d: d["signature"]["dims"][0].__setitem__(2, float("inf")), PackageError, "list of name"),
    "a chunk digest fewer": (lambda d: d["weights"]["chunks"].pop(), PackageError, "chunk digests"),
    "chunks of no size": (lambda d: d["weights"].__setitem__("chunk_bytes", 0), PackageError, "sensible"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "error", "reason"), FORGED.values(), ids=FORGED.keys())
def test_a_forged_document_is_refused(
    copy: Copy, store: Store, change: Callable[[dict[str, Any]], object], error: type[PackageError], reason: str
) -> None:
    directory = copy()
    _edit(directory, change)
    with pytest.raises(error, match=reason):
        load(directory, store=store)


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"null", b"\xff\xfe", b"[" * 200_000, b'{"format": NaN}'])
def test_what_is_no_package_at_all_is_refused(data: bytes) -> None:
    with pytest.raises(PackageError):
        decode(data)


def test_weights_may_lie_elsewhere(packed: Packed, copy: Copy, store: Store, tmp_path: Path) -> None:
    directory = copy()
    elsewhere = tmp_path / "elsewhere.safetensors"
    (directory / "model.safetensors").rename(elsewhere)
    _edit(directory, lambda d: d["weights"].__setitem__("uri", elsewhere.as_uri()))
    x = torch.randn(2, 3, 8, 8)
    with torch.inference_mode():
        assert torch.equal(packed[0](x), load(directory, store=store).run({"x": x})[0])


@pytest.mark.parametrize("uri", ["file:///nowhere/at/all", "nosuchprotocol://x/y", "http://127.0.0.1:9/x"])
def test_weights_that_cannot_be_fetched_are_named(copy: Copy, store: Store, uri: str) -> None:
    directory = copy()
    _edit(directory, lambda d: d["weights"].__setitem__("uri", uri))
    with pytest.raises(SourceError, match="cannot read weights from"):
        load(directory, store=store)
