"""One worker's session with the executor: what it asks, and what it is answered.

The rule: the worker holds user code, so nothing that it sends raises here or is looked at before it is checked. A
malformed question is answered with an error.

Nothing here reads a socket, loads a model or decides when a session ends; `instar.executor.server` does.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from instar import errors
from instar.errors import ExecutionError, InstarError, PackageError, ProtocolError, SourceError
from instar.executor import arena
from instar.executor.protocol import (
    FRAME_BYTES,
    Answer,
    Call,
    Describe,
    Described,
    Failed,
    Grow,
    Grown,
    Question,
    Reply,
    TensorRef,
    decode_question,
    encode,
    place,
)
from instar.graph.signature import Signature


class Model(Protocol):
    """What a session needs of a live model; `instar.executor.live.LiveModel` is one."""

    @property
    def signature(self) -> Signature: ...
    def run(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]: ...


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encoded reply and the descriptor that goes with it, which the sender closes."""

    data: bytes
    descriptor: int | None = None


class Session:
    """Answers one worker. Owns its arena; a model that could not be loaded stands here as its error."""

    def __init__(
        self,
        models: Mapping[str, Model | InstarError],
        *,
        arena_bytes: int,
        load: Callable[[str], Model | InstarError] | None = None,
    ) -> None:
        """`load` tries again where weights could not even begin to be fetched, as on a full disk."""
        self._models = dict(models)
        self._arena_bytes = arena_bytes
        self._load = load
        self._arena: arena.Arena | None = None

    def answer(self, data: bytes) -> Sealed:
        """The reply to a frame. Never raises for what a worker sent."""
        number = 0
        try:
            if len(data) > FRAME_BYTES:
                raise ProtocolError(f"a question of more than {FRAME_BYTES} bytes")
            number, question = decode_question(data)
            reply, descriptor = self._reply(question)
            try:
                return Sealed(encode(number, reply), descriptor)
            except ProtocolError:  # a model with so many outputs, or such long names, that they fit no frame
                if descriptor is not None:
                    os.close(descriptor)
                raise
        except InstarError as error:
            return Sealed(encode(number, _failed(error)))
        except Exception as error:  # of torch, for a call that nothing above has foreseen
            text = f"{type(error).__name__}: {error}"
            return Sealed(encode(number, Failed(ExecutionError.__name__, text)))

    def _reply(self, question: Question) -> tuple[Reply, int | None]:
        match question:
            case Describe(name):
                name, model = self._find(name)
                return Described(name, model.signature), None
            case Grow(nbytes):
                size, descriptor = self._grow(nbytes)
                return Grown(size), descriptor
            case Call(name, refs):
                if self._arena is None and refs:
                    raise ProtocolError("a call before there is an arena")
                inputs = self._take(self._arena, refs) if self._arena else {}
                _, model = self._find(name)
                return self._give(model.signature, model.run(inputs))

    def _take(self, shared: arena.Arena, refs: Sequence[TensorRef]) -> dict[str, torch.Tensor]:
        """Copies, made before anything looks at the values: the worker can write to the arena at any time."""
        nbytes = sum(ref.nbytes for ref in refs)
        if nbytes > shared.nbytes:  # many views of the same bytes, whose copies would fill the memory
            raise ProtocolError(f"the tensors of a call take {nbytes} bytes of an arena of {shared.nbytes}")
        inputs = {ref.name: shared.view(ref).clone() for ref in refs}
        # A worker may write any byte where a bool should be; operators rely on there being zeros and ones.
        return {name: x.view(torch.uint8).ne(0) if x.dtype is torch.bool else x for name, x in inputs.items()}

    def _give(self, signature: Signature, outputs: Sequence[torch.Tensor]) -> tuple[Answer, int | None]:
        refs, nbytes = place(
            [
                (port.name, arena.dtype_name(output), tuple(output.shape))
                for port, output in zip(signature.outputs, outputs, strict=True)
            ]
        )
        grown, descriptor = 0, None
        if self._arena is None or nbytes > self._arena.nbytes:
            grown, descriptor = self._grow(nbytes)
        assert self._arena is not None  # there was one, or it has just grown
        for ref, output in zip(refs, outputs, strict=True):
            self._arena.view(ref).copy_(output)
        return Answer(refs, grown), descriptor

    def _grow(self, nbytes: int) -> tuple[int, int]:
        size = arena.rounded(nbytes, limit_bytes=self._arena_bytes)
        descriptor = arena.create(size, limit_bytes=self._arena_bytes)
        try:
            self._arena = arena.Arena(descriptor, size)
        except BaseException:
            os.close(descriptor)
            raise
        return size, descriptor

    def _find(self, name: str) -> tuple[str, Model]:
        if not self._models:
            raise PackageError(
                "the action has no model package: put the folder that `instar pack` wrote into its archive, "
                "or set INSTAR_MODEL to where it lies"
            )
        if not name and len(self._models) > 1:
            raise PackageError(f"the action has several models, name one of them: {', '.join(self._models)}")
        name = name or next(iter(self._models))
        found = self._models.get(name)
        if found is None:
            raise PackageError(f"the action has no model {name!r}; it has {', '.join(self._models)}")
        if isinstance(found, SourceError) and self._load is not None:
            found = self._models[name] = self._load(name)
        if isinstance(found, InstarError):
            raise found
        return name, found


def _failed(error: InstarError) -> Failed:
    # The nearest class that the worker can look up by name.
    kind = next(c for c in type(error).__mro__ if getattr(errors, c.__name__, None) is c)
    return Failed(kind.__name__, str(error))
