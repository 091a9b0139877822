"""From the bytes of `model.json` to something that can be bound to weights at once.

The first time, the package is decoded, checked and compiled. What came of it is kept under the digest of the very
bytes it was made from, so the next process that meets them skips all three: a dict of code objects and plain tuples
is read back in a fraction of a millisecond. A changed byte, another release or another Python is another key.

A live executor also remembers the last few structures it met, so that a function that comes back costs a hash.

Kept code is code: from which folders it is read, and that it is what was written, is `kept`'s to say.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instar import digests, package
from instar.errors import PackageError
from instar.executor import kept
from instar.graph import program
from instar.graph.ir import TensorType
from instar.graph.signature import Bounds, Port, Signature
from instar.weights import layout
from instar.weights.manifest import Weights, pack_spans

VERSION = 3
REMEMBERED = 32  # structures, of about a megabyte each
_BUFFER_BYTES = 64 * 1024

View = tuple[str, tuple[int, ...], tuple[int, ...], int]  # dtype, shape, strides, offset; both in elements


@dataclass(frozen=True, slots=True)
class Prepared:
    """A checked and compiled package without its weights.

    `views` has one for each weight, `spans` where each lies in the file (`manifest.pack_spans`), in the same order.
    """

    signature: Signature
    program: program.Program
    views: tuple[View, ...]
    weights: Weights
    digest: str
    structure_digest: str
    spans: bytes


# Frozen values only, under the digest of what they were made from: sharing them is safe.
_remembered: dict[str, Prepared] = {}


def prepare(model_json: Path, *caches: Path) -> Prepared:
    """Check and compile a package, or find that this was done before.

    `caches` are the folders for what is kept: it is looked for in all of them, in order, and new entries go to the
    last. If none can be used, the work is done anew each time. Raises `PackageError` for a file that is no package.
    """
    with package.opened(model_json) as file:
        key = _key(file)
        found = _remembered.get(key) or next(filter(None, (_read(cache / key) for cache in caches)), None)
        if found is not None:
            _remember(key, found)
            return found
        file.seek(0)
        data = file.read(package.MAX_JSON_BYTES + 1)
    decoded = package.decode(data)
    if _key(io.BytesIO(data)) != key:
        raise PackageError(f"{model_json} changed while it was read; load it again")
    prepared = of_package(decoded)
    for cache in caches[-1:]:
        kept.write(cache / key, _to_plain(prepared))
    _remember(key, prepared)
    return prepared


def of_package(decoded: package.Package) -> Prepared:
    """Compile a package that `package.decode` has checked."""
    return Prepared(
        signature=decoded.signature,
        program=program.compile_graph(decoded.graph, _stages(decoded)),
        views=_views(decoded.tensors),
        weights=decoded.weights,
        digest=decoded.digest,
        structure_digest=decoded.structure_digest,
        spans=pack_spans(t.span for t in decoded.tensors),
    )


def forget() -> None:
    """Drop what this process remembers; the folder is left alone."""
    _remembered.clear()


def _remember(key: str, prepared: Prepared) -> None:
    _remembered[key] = prepared
    while len(_remembered) > REMEMBERED:
        # Another thread may have dropped it meanwhile.
        _remembered.pop(next(iter(_remembered)), None)


def _stages(decoded: package.Package) -> tuple[program.Stage, ...]:
    chunk = decoded.weights.chunk_bytes
    return program.cut(decoded.graph, [max(t.offset, t.offset + t.nbytes - 1) // chunk for t in decoded.tensors])


def _views(tensors: Iterable[package.Tensor]) -> tuple[View, ...]:
    # Equal shapes become one object, so that they are written, and read back, once.
    one: dict[tuple[int, ...], tuple[int, ...]] = {}
    return tuple(
        (
            sys.intern(t.dtype),
            one.setdefault(t.shape, t.shape),
            one.setdefault(t.strides, t.strides),
            t.offset // layout.DTYPES[t.dtype][1],
        )
        for t in tensors
    )


def _key(model_json: io.RawIOBase | io.BytesIO) -> str:
    # Through one small buffer: memory for the whole file would be new memory, and cost more than the hash.
    digest, buffer = digests.new(), bytearray(_BUFFER_BYTES)
    view = memoryview(buffer)
    while count := model_json.readinto(buffer):
        digest.update(view[:count])
    return f"{digest.hexdigest()}.{sys.implementation.cache_tag}-{program.VERSION}.{VERSION}"


def _read(path: Path) -> Prepared | None:
    plain = kept.read(path)
    return None if plain is None else _from_plain(plain)


def _to_plain(p: Prepared) -> tuple[Any, ...]:
    s, w, code = p.signature, p.weights, p.program
    return (
        tuple((port.name, port.type.dtype, port.type.shape) for port in s.inputs),
        tuple((port.name, port.type.dtype, port.type.shape) for port in s.outputs),
        s.result,
        tuple((name, b.min, b.max) for name, b in s.dims),
        (code.free, code.gated_marshalled),
        (code.operators, code.dtypes, code.memory_formats),
        p.views,
        (w.size, w.chunk_bytes, w.chunks, w.uri),
        p.digest,
        p.structure_digest,
        p.spans,
    )


def _from_plain(plain: tuple[Any, ...]) -> Prepared:
    inputs, outputs, result, dims, (free, gated), names, views, weights, digest, structure, spans = plain
    return Prepared(
        signature=Signature(
            inputs=tuple(Port(n, TensorType(d, s)) for n, d, s in inputs),
            outputs=tuple(Port(n, TensorType(d, s)) for n, d, s in outputs),
            result=result,
            dims=tuple((name, Bounds(low, high)) for name, low, high in dims),
        ),
        program=program.Program(free, gated, *names),
        views=views,
        weights=Weights(*weights),
        digest=digest,
        structure_digest=structure,
        spans=spans,
    )
