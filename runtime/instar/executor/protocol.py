"""What a worker and the executor say to each other about models.

The rule: the worker holds user code, so the executor believes nothing. A frame decodes to exactly one of the
dataclasses below, every number in it checked, or it is a `ProtocolError`. Numbers, not tensors, travel in a frame:
the tensors lie in a shared arena (`instar.executor.arena`), whose file descriptor comes beside a frame.

    worker                                  executor
    Describe(model)                    ->   Described | Failed
    Grow(nbytes)                       ->   Grown, with a new arena | Failed
    Call(model, inputs in the arena)   ->   Answer, with a new arena if the outputs need one | Failed

One question at a time, each answered once, under the number it was asked with: a worker that was interrupted
while it waited can tell a late answer from its own. Nothing here reads memory, files or torch.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any

from instar import package
from instar.errors import PackageError, ProtocolError
from instar.graph.signature import Signature
from instar.weights import layout

FRAME_BYTES = 128 * 1024  # of either direction; below the kernel's default for one packet
MAX_TENSORS = 1024  # of one call
MAX_DIMENSIONS = 64  # torch's own limit
MAX_BYTES = 1 << 48  # beyond any arena, and small enough for all arithmetic on it


@dataclass(frozen=True, slots=True)
class TensorRef:
    """A contiguous tensor in the arena."""

    name: str
    dtype: str  # torch's name without the prefix; one of `layout.DTYPES`
    shape: tuple[int, ...]
    offset: int  # bytes from the arena's start, a multiple of `layout.ALIGNMENT`

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * layout.DTYPES[self.dtype][1]


# what the zygote tells the executor


@dataclass(frozen=True, slots=True)
class Open:
    """Load these models for a worker, whose session comes along; the worker before it has gone."""

    models: tuple[tuple[str, str], ...]  # (name, package directory)
    store: str  # directory of the node's weights files
    own: str  # directory for what that one cannot take, where it is mounted read-only


@dataclass(frozen=True, slots=True)
class Consider:
    """Answer the proxy's proposal, which is on the socket that comes along (`instar.executor.proposals`)."""


Order = Open | Consider


# what a worker asks


@dataclass(frozen=True, slots=True)
class Describe:
    """How is this model called? An empty name means the only one."""

    model: str


@dataclass(frozen=True, slots=True)
class Grow:
    """Give me an arena of at least so many bytes; the present one is forgotten."""

    nbytes: int


@dataclass(frozen=True, slots=True)
class Call:
    """Run the model on tensors that lie in the arena."""

    model: str
    inputs: tuple[TensorRef, ...]


Question = Describe | Grow | Call


# what the executor answers


@dataclass(frozen=True, slots=True)
class Described:
    """A model whose structure is known; its weights may still be on their way."""

    model: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class Grown:
    """The new arena's size. Its descriptor comes along."""

    nbytes: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The outputs, which lie in the arena until the next question."""

    outputs: tuple[TensorRef, ...]
    grown: int  # 0, or the size of a new arena, whose descriptor comes along


@dataclass(frozen=True, slots=True)
class Failed:
    """The question has no answer; `error` names a class of `instar.errors`."""

    error: str
    text: str


Reply = Described | Grown | Answer | Failed


def encode_order(order: Order) -> bytes:
    """What the zygote sends."""
    match order:
        case Open(models, store, own):
            return json.dumps(["open", models, store, own]).encode("ascii")
        case Consider():
            return b'["consider"]'


def decode_order(data: bytes) -> Order:
    """Raises `ProtocolError`."""
    match _parse(data):
        case ["open", [*models], str(store), str(own)]:
            return Open(tuple(map(_model, models)), store, own)
        case ["consider"]:
            return Consider()
    raise ProtocolError(f"the zygote's frame is no order: {data[:80]!r}")


def _model(item: Any) -> tuple[str, str]:
    match item:
        case [str(name), str(path)]:
            return name, path
    raise ProtocolError(f"no name and directory of a model: {str(item)[:80]}")


def encode(number: int, frame: Question | Reply) -> bytes:
    """Raises `ProtocolError` where the frame is longer than `FRAME_BYTES`."""
    match frame:
        case Describe(model):
            rest: list[Any] = ["describe", model]
        case Grow(nbytes):
            rest = ["grow", nbytes]
        case Call(model, inputs):
            rest = ["call", model, [_plain(ref) for ref in inputs]]
        case Described(model, signature):
            rest = ["described", model, package.encode_signature(signature)]
        case Grown(nbytes):
            rest = ["grown", nbytes]
        case Answer(outputs, grown):
            rest = ["answer", [_plain(ref) for ref in outputs], grown]
        case Failed(error, text):
            rest = ["failed", error, text[: FRAME_BYTES // 16]]  # a character takes six bytes at worst, in JSON
    data = json.dumps([number, *rest], separators=(",", ":")).encode("ascii")
    if len(data) > FRAME_BYTES:
        raise ProtocolError(f"a {type(frame).__name__} frame of {len(data)} bytes; at most {FRAME_BYTES} fit")
    return data


def decode_question(data: bytes) -> tuple[int, Question]:
    """Number and question. Raises `ProtocolError` for anything but what `encode` makes of a `Question`."""
    match _parse(data):
        case [number, "describe", str(model)]:
            return _size(number), Describe(model)
        case [number, "grow", nbytes]:
            return _size(number), Grow(_size(nbytes))
        case [number, "call", str(model), [*inputs]]:
            return _size(number), Call(model, _refs(inputs))
    raise ProtocolError(f"a worker's frame is no question: {data[:80]!r}")


def decode_reply(data: bytes) -> tuple[int, Reply]:
    """Number and reply. Raises `ProtocolError` for anything but what `encode` makes of a `Reply`."""
    match _parse(data):
        case [number, "described", str(model), signature]:
            return _size(number), Described(model, _signature(signature))
        case [number, "grown", nbytes]:
            return _size(number), Grown(_size(nbytes))
        case [number, "answer", [*outputs], grown]:
            return _size(number), Answer(_refs(outputs), _size(grown))
        case [number, "failed", str(error), str(text)]:
            return _size(number), Failed(error, text)
    raise ProtocolError(f"the executor's frame is no reply: {data[:80]!r}")


def place(
    tensors: list[tuple[str, str, tuple[int, ...]]],
) -> tuple[tuple[TensorRef, ...], int]:
    """Lay (name, dtype, shape) out one after the other. Returns the references and how many bytes they take."""
    refs: list[TensorRef] = []
    end = 0
    for name, dtype, shape in tensors:
        ref = TensorRef(name, dtype, shape, -(-end // layout.ALIGNMENT) * layout.ALIGNMENT)
        refs.append(ref)
        end = ref.offset + ref.nbytes
    return tuple(refs), end


def _plain(ref: TensorRef) -> list[Any]:
    return [ref.name, ref.dtype, list(ref.shape), ref.offset]


def _refs(items: list[Any]) -> tuple[TensorRef, ...]:
    if len(items) > MAX_TENSORS:
        raise ProtocolError(f"a frame with {len(items)} tensors; at most {MAX_TENSORS} are taken")
    return tuple(map(_ref, items))


def _ref(item: Any) -> TensorRef:
    match item:
        case [str(name), str(dtype), [*shape], offset] if dtype in layout.DTYPES and len(shape) <= MAX_DIMENSIONS:
            ref = TensorRef(name, dtype, tuple(map(_size, shape)), _size(offset))
            if ref.offset % layout.ALIGNMENT:
                raise ProtocolError(f"tensor {name!r} lies at {ref.offset}, no multiple of {layout.ALIGNMENT}")
            if ref.nbytes > MAX_BYTES:
                raise ProtocolError(f"tensor {name!r} of shape {list(shape)} is larger than any arena")
            return ref
    raise ProtocolError(f"no reference to a tensor: {str(item)[:80]}")


def _signature(value: Any) -> Signature:
    try:
        return package.decode_signature(value)
    except PackageError as error:
        raise ProtocolError(f"no signature of a model: {error}") from error


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= MAX_BYTES:  # a bool is no size
        raise ProtocolError(f"{str(value)[:40]!r} is no size from 0 to {MAX_BYTES}")
    return value


def _parse(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a frame is not JSON: {error}") from error
