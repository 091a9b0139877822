"""What `model.json` says: how a model is called, its graph, where its tensors lie, and the digests of all of it.

Two digests name a model. The *structure* digest covers signature and graph, so two fine-tuned siblings share it;
the *model* digest covers the structure and every byte of the weights. `decode` recomputes both: a package that
decodes says what was packed. The weights' bytes are held against their chunk digests when they enter the store.

Nothing here reads torch or weights.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import os
import re
import stat
from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instar import digests
from instar.errors import DigestError, PackageError
from instar.graph import codec, ir, spec
from instar.graph.signature import RESULTS, Bounds, Port, Signature
from instar.weights import layout
from instar.weights.manifest import Span, Weights, pack_spans

FORMAT = "instar-model"
VERSION = 2  # 1 had digests of another function
MODEL_FILE = "model.json"
MAX_JSON_BYTES = 64 * 1024 * 1024
MAX_DIM = 2**31

_SECTIONS = frozenset(
    ["format", "version", "producer", "structure", "model", "signature", "weights", "tensors", "graph"]
)
_NEEDED_TO_FIND = frozenset(["format", "version", "weights"])
_NEEDED_TO_FETCH = _NEEDED_TO_FIND | {"tensors"}
_GRAPH_SECTIONS = frozenset(["version", "symbols", "inputs", "nodes", "outputs"])
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,255}\Z")
_BLANKS = re.compile(r"[ \t\n\r]*")
_HEX = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One entry of the tensor index. `offset` and `nbytes` are in the weights file, strides in elements."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    nbytes: int
    digest: str

    @property
    def span(self) -> Span:
        return Span(self.offset, self.nbytes, bytes.fromhex(self.digest))


@dataclass(frozen=True, slots=True)
class Package:
    """A whole `model.json`."""

    signature: Signature
    graph: ir.Graph
    tensors: tuple[Tensor, ...]
    weights: Weights
    producer: str = ""

    @property
    def structure_digest(self) -> str:
        """Digest of signature and graph in canonical JSON."""
        return _structure_digest(encode_signature(self.signature), codec.encode(self.graph))

    @property
    def digest(self) -> str:
        """Digest of the structure, the tensor index and the weights' digest: the model's identity."""
        return _model_digest(self.structure_digest, [_encode_tensor(t) for t in self.tensors], self.weights)


@contextlib.contextmanager
def opened(model_json: Path) -> Iterator[io.FileIO]:
    """`model.json` of a package's folder, to be read from its start.

    Whatever the folder's author put there, opening and reading it end. Raises `PackageError` where it cannot be read,
    is no plain file or has more than `MAX_JSON_BYTES`.
    """
    try:
        # A pipe would keep who opens it waiting for somebody who writes.
        descriptor = os.open(model_json, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        with io.FileIO(descriptor) as file:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise PackageError(f"{model_json} is no plain file; is {model_json.parent} a model package?")
            if status.st_size > MAX_JSON_BYTES:
                raise PackageError(f"{model_json} has {status.st_size} bytes; at most {MAX_JSON_BYTES} are read")
            yield file
    except OSError as error:
        raise PackageError(
            f"{model_json} cannot be read ({error.strerror}); is {model_json.parent} a model package?"
        ) from error


def read(folder: Path) -> bytes:
    """The bytes of `model.json` in a package's folder, for `decode`. Raises `PackageError` as `opened` does."""
    with opened(folder / MODEL_FILE) as file:
        return file.read(MAX_JSON_BYTES + 1) or b""


def encode(package: Package) -> bytes:
    """`model.json`: readable, one tensor and one node a line, and the same bytes for the same model."""
    signature, graph = encode_signature(package.signature), codec.encode(package.graph)
    tensors = [_encode_tensor(t) for t in package.tensors]
    structure = _structure_digest(signature, graph)
    weights: dict[str, Any] = {"size": package.weights.size, "chunk_bytes": package.weights.chunk_bytes}
    if package.weights.uri is not None:
        weights["uri"] = package.weights.uri
    weights["chunks"] = list(package.weights.chunks)
    # The types of the graph's weights stand in the tensor index already.
    written = {k: _lines(v) if k == "nodes" else json.dumps(v) for k, v in graph.items() if k in _GRAPH_SECTIONS}
    parts = {
        "format": json.dumps(FORMAT),
        "version": json.dumps(VERSION),
        "producer": json.dumps(package.producer),
        "structure": json.dumps(structure),
        "model": json.dumps(_model_digest(structure, tensors, package.weights)),
        "signature": json.dumps(signature),
        "weights": json.dumps(weights),
        "tensors": _lines(tensors),
        "graph": "{" + ",\n".join(f"{json.dumps(k)}: {v}" for k, v in written.items()) + "}",
    }
    return ("{\n" + ",\n".join(f"{json.dumps(k)}: {v}" for k, v in parts.items()) + "\n}\n").encode()


def decode(data: bytes) -> Package:
    """The package that `model.json` describes, its grammar checked and both digests recomputed.

    Raises `PackageError` (`GraphError`, `DigestError`) for anything that `encode` would not have written.
    """
    if len(data) > MAX_JSON_BYTES:
        raise PackageError(f"{MODEL_FILE} has {len(data)} bytes; at most {MAX_JSON_BYTES} are read")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise PackageError(f"{MODEL_FILE} is not JSON ({error}); it is damaged: copy the package again") from None
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise PackageError(f"{MODEL_FILE} is not a model package (its format is not {FORMAT!r})")
    if not _is_size(document.get("version")) or document["version"] != VERSION:
        raise PackageError(
            f"{MODEL_FILE} has version {document.get('version')!r}; this Instar reads version {VERSION}: "
            "pack the model again with this release"
        )
    _keys(document, _SECTIONS, MODEL_FILE)
    signature = decode_signature(document["signature"])
    weights = _decode_weights(document["weights"])
    tensors = tuple(_decode_tensor(t, weights) for t in _items(document["tensors"], "tensors"))
    _keys(document["graph"], _GRAPH_SECTIONS, "the graph")
    types = [codec.encode_type(ir.TensorType(t.dtype, t.shape)) for t in tensors]
    graph = codec.decode({**document["graph"], "weights": types})
    spec.check(graph)
    _check_whole(signature, graph)
    package = Package(signature, graph, tensors, weights, _text(document["producer"], "producer"))
    for name, stated, found in (
        ("structure", document["structure"], package.structure_digest),
        ("model", document["model"], package.digest),
    ):
        if stated != found:
            raise DigestError(
                f"{MODEL_FILE} states the {name} digest {str(stated)[:16]}… but its content has {found[:16]}…: "
                "it was changed or damaged after packing; pack or copy it again"
            )
    return package


def peek_weights(head: bytes) -> Weights:
    """Which weights a package has; of the beginning of its `model.json` no more is looked at than it takes.

    Raises `PackageError`.
    """
    return _decode_weights(_beginning(head, _NEEDED_TO_FIND)["weights"])


def decode_weights(head: bytes) -> tuple[Weights, bytes]:
    """What it takes to fetch a package's weights before anybody decodes it: see `Weights` and `pack_spans`.

    `head` is the beginning of `model.json` up to its graph at least; what follows its tensors is not looked at. No
    digest is recomputed: what is fetched is held against those that stand here. Raises `PackageError`.
    """
    found = _beginning(head, _NEEDED_TO_FETCH)
    weights = _decode_weights(found["weights"])
    return weights, pack_spans(_decode_tensor(t, weights).span for t in _items(found["tensors"], "tensors"))


def _beginning(head: bytes, needed: frozenset[str]) -> dict[str, Any]:
    """The members of `model.json` up to the last one that is needed. Raises `PackageError`."""
    found: dict[str, Any] = {}
    try:
        for key, value in _members(head.decode("utf-8", "replace")):
            found[key] = value
            if found.keys() >= needed:
                break
    except (ValueError, RecursionError) as error:
        raise PackageError(
            f"{MODEL_FILE} does not say in its first {len(head)} bytes what to fetch ({error})"
        ) from None
    if found.keys() < needed or found["format"] != FORMAT or found["version"] != VERSION:
        raise PackageError(f"{MODEL_FILE} is not a model package of version {VERSION}")
    return found


def _members(text: str) -> Iterator[tuple[str, Any]]:
    """The members of the object that `text` is or begins with, one by one. Raises `ValueError`, `RecursionError`."""
    decoder = json.JSONDecoder()
    at = _after(text, 0, "{")
    while True:
        key, at = decoder.raw_decode(text, _after(text, at, ""))
        value, at = decoder.raw_decode(text, _after(text, _after(text, at, ":"), ""))
        yield str(key), value
        at = _after(text, at, ",")


def _after(text: str, at: int, mark: str) -> int:
    """Where it goes on after blanks and this mark."""
    at = _BLANKS.match(text, at).end()  # type: ignore[union-attr]  # it matches nothing, too
    if not text.startswith(mark, at):
        raise ValueError(f"no {mark!r} at {at}")
    return at + len(mark)


def _check_whole(signature: Signature, graph: ir.Graph) -> None:
    """What signature and graph say of each other must agree."""
    if tuple(p.type for p in signature.inputs) != graph.inputs:
        raise PackageError("the signature's inputs are not the graph's inputs")
    if len(signature.outputs) != len(graph.outputs):
        raise PackageError(
            f"the signature has {len(signature.outputs)} outputs, the graph gives {len(graph.outputs)}"
        )
    if tuple(name for name, _ in signature.dims) != graph.symbols:
        raise PackageError("the signature's dynamic dimensions are not the graph's")
    for port in signature.inputs:
        for dim in port.type.shape:
            if isinstance(dim, str) and dim not in graph.symbols:
                raise PackageError(f"input {port.name!r} has the dimension {dim!r}, which has no bounds")
    for what, names in (("input", signature.inputs), ("output", signature.outputs)):
        if len({p.name for p in names}) != len(names):
            raise PackageError(f"two {what}s have the same name")
    if signature.result == "tensor" and len(signature.outputs) != 1:
        raise PackageError(f"a result 'tensor' has one output, not {len(signature.outputs)}")


def encode_signature(signature: Signature) -> dict[str, Any]:
    """The signature as plain values, as it stands in `model.json`."""
    return {
        "inputs": [[p.name, codec.encode_type(p.type)] for p in signature.inputs],
        "outputs": [[p.name, codec.encode_type(p.type)] for p in signature.outputs],
        "result": signature.result,
        "dims": [[name, bounds.min, bounds.max] for name, bounds in signature.dims],
    }


def decode_signature(value: Any) -> Signature:
    """The inverse of `encode_signature`. Raises `PackageError` for anything that it would not have made."""
    _keys(value, {"inputs", "outputs", "result", "dims"}, "the signature")
    if _text(value["result"], "the signature's result") not in RESULTS:
        raise PackageError(f"the signature's result is {str(value['result'])[:100]!r}, not one of {sorted(RESULTS)}")
    dims = []
    for item in _items(value["dims"], "dims"):
        if not isinstance(item, list) or len(item) != 3 or not all(_is_size(n) for n in item[1:]):
            raise PackageError("a dynamic dimension is a list of name, least and greatest size")
        if not 0 <= item[1] <= item[2] <= MAX_DIM:
            raise PackageError(f"dimension {item[0]!r} has the bounds {item[1]}…{item[2]}, which hold no size")
        dims.append((_text(item[0], "a dimension"), Bounds(item[1], item[2])))
    return Signature(
        inputs=tuple(_decode_port(p) for p in _items(value["inputs"], "inputs")),
        outputs=tuple(_decode_port(p) for p in _items(value["outputs"], "outputs")),
        result=value["result"],
        dims=tuple(dims),
    )


def _decode_port(value: Any) -> Port:
    if not isinstance(value, list) or len(value) != 2:
        raise PackageError("an input or output is a list of name and type")
    name = _text(value[0], "an input's name")
    if not _NAME.match(name):
        raise PackageError(f"{name[:100]!r} is no name for an input or output: letters, digits, '_' and '.' only")
    type_ = codec.decode_type(value[1], f"{name!r}")
    if not isinstance(type_, ir.TensorType):
        raise PackageError(f"{name!r} has the type {value[1]!r}, which is no tensor's")
    return Port(name, type_)


def _encode_tensor(tensor: Tensor) -> list[Any]:
    return [tensor.name, tensor.dtype, list(tensor.shape), list(tensor.strides), tensor.offset, tensor.nbytes,
            tensor.digest]  # fmt: skip


def _decode_tensor(value: Any, weights: Weights) -> Tensor:
    if not isinstance(value, list) or len(value) != 7:
        raise PackageError("an entry of the tensor index is a list of seven items")
    name, dtype, shape, strides, offset, nbytes, digest = value
    name = _text(name, "a tensor's name")
    where = f"tensor {name[:200]!r}"
    if _text(dtype, f"{where}: its dtype") not in layout.DTYPES:
        raise PackageError(f"{where} has the unknown dtype {str(dtype)[:100]!r}")
    for what, numbers in (("shape", shape), ("strides", strides)):
        if not isinstance(numbers, list) or len(numbers) > spec.MAX_RANK or not all(_is_size(n) for n in numbers):
            raise PackageError(f"{where} has a {what} that is no list of at most {spec.MAX_RANK} sizes")
    if len(shape) != len(strides):
        raise PackageError(f"{where} has {len(shape)} dimensions but {len(strides)} strides")
    if not (_is_size(offset) and _is_size(nbytes) and offset + nbytes <= weights.size):
        raise PackageError(f"{where} lies at {offset}+{nbytes}, outside the weights file of {weights.size} bytes")
    if offset % layout.ALIGNMENT:
        raise PackageError(f"{where} lies at {offset}, which is no multiple of {layout.ALIGNMENT}")
    itemsize = layout.DTYPES[dtype][1]
    reach = 0 if 0 in shape else 1 + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if reach * itemsize > nbytes or math.prod(shape) * itemsize != nbytes:
        raise PackageError(f"{where} of shape {shape} and strides {strides} does not fit its {nbytes} bytes")
    return Tensor(name, dtype, tuple(shape), tuple(strides), offset, nbytes, _digest(digest, where))


def _decode_weights(value: Any) -> Weights:
    optional = {"uri"} if isinstance(value, dict) and "uri" in value else set()
    _keys(value, {"size", "chunk_bytes", "chunks"} | optional, "weights")
    size, chunk_bytes = value["size"], value["chunk_bytes"]
    chunks = tuple(_digest(c, "a chunk") for c in _items(value["chunks"], "chunks"))
    if not (
        _is_size(size) and _is_size(chunk_bytes) and size >= layout.LENGTH_BYTES and 4096 <= chunk_bytes <= 2**30
    ):
        raise PackageError("the weights' size or chunk size is no sensible number")
    if len(chunks) != layout.chunk_count(size, chunk_bytes):
        raise PackageError(f"weights of {size} bytes have {len(chunks)} chunk digests of {chunk_bytes} bytes each")
    uri = _text(value["uri"], "weights.uri") if "uri" in value else None
    return Weights(size, chunk_bytes, chunks, uri)


def _structure_digest(signature: Any, graph: Any) -> str:
    return digests.hexdigest(_canonical([VERSION, signature, graph]))


def _model_digest(structure: str, tensors: Iterable[Any], weights: Weights) -> str:
    # Where the weights lie is no part of what the model is.
    return digests.hexdigest(_canonical([structure, list(tensors), weights.digest]))


def _canonical(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":"), sort_keys=True, allow_nan=False).encode()


def _lines(items: list[Any]) -> str:
    # Compact: the file is read and hashed at every load.
    return "[\n" + ",\n".join(json.dumps(item, separators=(",", ":")) for item in items) + "\n]" if items else "[]"


def _keys(value: Any, wanted: Set[str], where: str) -> None:
    if not isinstance(value, dict) or set(value) != wanted:
        found = sorted(value) if isinstance(value, dict) else type(value).__name__
        raise PackageError(f"{where} has the keys {str(found)[:300]}, not {sorted(wanted)}")


def _items(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise PackageError(f"{where} is not a list")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise PackageError(f"{where} is {str(value)[:100]!r}, not a text")
    return value


def _is_size(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def _digest(value: Any, where: str) -> str:
    if not isinstance(value, str) or not _HEX.match(value):
        raise PackageError(f"{where} has {str(value)[:80]!r} where a digest in hexadecimal belongs")
    return value
