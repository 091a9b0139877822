"""The executor: the long-lived process that holds the live models and runs them for the worker.

The rule: no frame of a worker, however forged, ends it or makes it wait. A malformed question is answered with
an error; a worker that cannot be answered loses its session. No user code runs here, only validated graphs.

It is forked by the zygote and ends with it. `Session` decides the answers and does no I/O; `serve` does that.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, Protocol

import torch

from instar import errors
from instar.errors import ExecutionError, InstarError, PackageError, ProtocolError
from instar.executor import arena, packets
from instar.executor.load import load
from instar.executor.protocol import (
    FRAME_BYTES,
    Answer,
    Call,
    Describe,
    Described,
    Failed,
    Grow,
    Grown,
    Open,
    Question,
    Reply,
    TensorRef,
    decode_open,
    decode_question,
    encode,
    place,
)
from instar.graph.signature import Signature
from instar.weights.store import Store


class Model(Protocol):
    """What the executor needs of a live model; `instar.executor.live.LiveModel` is one."""

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

    def __init__(self, models: Mapping[str, Model | InstarError], *, arena_bytes: int) -> None:
        self._models = models
        self._arena_bytes = arena_bytes
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
                return _describe(*self._find(name)), None
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
        if isinstance(found, InstarError):
            raise found
        return name, found


def serve(control: socket.socket, *, arena_bytes: int) -> NoReturn:
    """Be the executor of the zygote at the other end of `control` until it goes."""
    current: tuple[socket.socket, Session] | None = None
    while True:
        poll = select.poll()
        poll.register(control, select.POLLIN)
        if current is not None:
            poll.register(current[0], select.POLLIN)
        ready = {descriptor for descriptor, _ in poll.poll()}
        if control.fileno() in ready:
            data, descriptor = packets.receive(control, FRAME_BYTES)
            if descriptor is None:
                os._exit(0)
            current = None  # the models of the worker before are freed before new ones are loaded
            current = _open(decode_open(data), socket.socket(fileno=descriptor), arena_bytes)
        elif current is not None and not _exchange(*current):
            current = None


def _open(frame: Open, session: socket.socket, arena_bytes: int) -> tuple[socket.socket, Session]:
    session.setblocking(False)
    store = Store(Path(frame.store))
    models: dict[str, Model | InstarError] = {}
    for name, path in frame.models:
        try:
            models[name] = load(Path(path), store=store)
        except InstarError as error:
            models[name] = error
        except Exception as error:  # of torch or the system, for a package that nothing above has foreseen
            models[name] = PackageError(f"model {name!r} cannot be loaded: {type(error).__name__}: {error}")
    return session, Session(models, arena_bytes=arena_bytes)


def _exchange(connection: socket.socket, session: Session) -> bool:
    """Answer one frame. Returns whether the worker is still there."""
    try:
        data = connection.recv(FRAME_BYTES + 1)
        if not data:
            return False
        reply = session.answer(data)
        try:
            descriptors = [] if reply.descriptor is None else [reply.descriptor]
            socket.send_fds(connection, [reply.data], descriptors)
        finally:
            if reply.descriptor is not None:
                os.close(reply.descriptor)
        return True
    except OSError:  # it has gone, or asks without reading what it is answered
        return False


def _describe(name: str, model: Model) -> Described:
    signature = model.signature
    return Described(
        model=name,
        inputs=tuple(port.name for port in signature.inputs),
        outputs=tuple(port.name for port in signature.outputs),
        result=signature.result,
        text=str(signature),
    )


def _failed(error: InstarError) -> Failed:
    # The nearest class that the worker can look up by name.
    kind = next(c for c in type(error).__mro__ if getattr(errors, c.__name__, None) is c)
    return Failed(kind.__name__, str(error))
