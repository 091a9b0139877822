"""`instar.model()`: how a handler calls a model that lives in the executor.

The rule: what a handler gets back is its own (copied out of the shared arena), and an answer always belongs to
the call that returns it, even if an earlier call was interrupted while it waited.

No model is loaded here and torch computes nothing here; a call costs two copies of its tensors and one exchange.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any

import torch

from instar import errors
from instar.errors import InputError, InstarError, ProcessError, ProtocolError
from instar.executor import packets
from instar.executor.arena import Arena, dtype_name
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
    decode_reply,
    encode,
    place,
)
from instar.graph.signature import Signature
from instar.weights import layout

Result = torch.Tensor | tuple[torch.Tensor, ...] | dict[str, torch.Tensor]


class Model:
    """A model of this action. Call it with tensors or numpy arrays, in order or by input name.

    `name` is its package's folder; `inputs` and `outputs` are the names in `signature`, which also says of each its
    dtype and shape, and between which sizes a dynamic dimension lies:

        port = model.signature.inputs[0]
        port.name, port.type.dtype, port.type.shape     # "x", "float32", ("n", 3, 224, 224)
        dict(model.signature.dims)["n"].max             # 64

    Safe to call from several threads; the calls take turns, also while one waits for weights.
    """

    def __init__(self, connection: Connection, description: Described) -> None:
        self._connection = connection
        self.name = description.model
        self.signature: Signature = description.signature
        self.inputs = tuple(port.name for port in self.signature.inputs)
        self.outputs = tuple(port.name for port in self.signature.outputs)

    def __repr__(self) -> str:
        return f"<instar model {self.name!r} {self.signature}>"

    def __call__(self, *positional: Any, **named: Any) -> Result:
        """Run the model. Returns a tensor, a tuple or a dict by output name, as the packed module did.

        Weights that are still on their way are waited for, each where the model first needs it. Raises `InputError`
        if the arguments do not fit the model, `ExecutionError` if it failed on them, `SourceError` or `DigestError`
        if its weights cannot be had, and `ProcessError` if the executor ended meanwhile. After the last two kinds a
        later call tries afresh.
        """
        tensors = {name: as_tensor(name, value) for name, value in self._bind(positional, named).items()}
        outputs = self._connection.call(self.name, tensors)
        match self.signature.result:
            case "tensor":
                return outputs[0][1]
            case "dict":
                return dict(outputs)
            case _:
                return tuple(tensor for _, tensor in outputs)

    def _bind(self, positional: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        if len(positional) > len(self.inputs):
            raise InputError(
                f"model {self.name!r} takes {len(self.inputs)} inputs ({', '.join(self.inputs)}); "
                f"{len(positional)} were given"
            )
        bound = dict(zip(self.inputs, positional, strict=False))
        if twice := [name for name in named if name in bound]:
            raise InputError(f"model {self.name!r} was given the input {twice[0]!r} twice, in order and by name")
        return bound | dict(named)


class Connection:
    """The worker's end of its session with the executor. Owned by one process; threads take turns."""

    def __init__(self, door: socket.socket) -> None:
        self._door = door  # where the zygote hands in a session, and another whenever it has a new executor
        self._session: socket.socket | None = None
        self._arena: Arena | None = None
        self._known: dict[str, Described] = {}
        self._number = 0
        self._in_step = True  # False while an answer may be on its way that nobody waits for any more
        self._turn = threading.RLock()
        self._pid = os.getpid()

    def describe(self, name: str) -> Described:
        """How a model is called. Waits for its structure only; raises what is wrong with that."""
        with self._turn:
            if name not in self._known:
                reply, _ = self._ask(Describe(name))
                self._in_step = True
                if not isinstance(reply, Described):
                    raise ProtocolError(f"the executor described {name!r} with a {type(reply).__name__}")
                self._known[name] = reply
            return self._known[name]

    def call(self, model: str, tensors: Mapping[str, torch.Tensor]) -> list[tuple[str, torch.Tensor]]:
        """Run a model; the outputs by name, in order."""
        refs, nbytes = place([(name, dtype_name(t), tuple(t.shape)) for name, t in tensors.items()])
        with self._turn, torch.inference_mode(False), torch.no_grad():
            arena = self._arena_of(nbytes)
            for ref, tensor in zip(refs, tensors.values(), strict=True):
                arena.view(ref).copy_(tensor)
            reply, descriptor = self._ask(Call(model, refs))
            if not isinstance(reply, Answer):
                raise ProtocolError(f"the executor answered a call with a {type(reply).__name__}")
            if reply.grown:
                arena = self._adopt(reply.grown, descriptor)
            self._in_step = True
            return [(ref.name, arena.view(ref).clone()) for ref in reply.outputs]

    def _arena_of(self, nbytes: int) -> Arena:
        """An arena that holds `nbytes` and that the executor is not using."""
        if self._arena is None or nbytes > self._arena.nbytes or not self._in_step:
            # Also after an interruption: when the new arena is here, whatever was late has been read.
            reply, descriptor = self._ask(Grow(max(nbytes, 1)))
            if not isinstance(reply, Grown):
                raise ProtocolError(f"the executor answered a Grow with a {type(reply).__name__}")
            self._adopt(reply.nbytes, descriptor)
            self._in_step = True
        assert self._arena is not None  # there was one, or it has just come
        return self._arena

    def _adopt(self, nbytes: int, descriptor: int | None) -> Arena:
        if descriptor is None:
            raise ProtocolError("the executor spoke of a new arena and sent none")
        try:
            self._arena = Arena(descriptor, nbytes)
        finally:
            os.close(descriptor)
        return self._arena

    def _ask(self, question: Question) -> tuple[Reply, int | None]:
        """Ask, and wait for the answer to just that. Raises what the executor answers with a `Failed`."""
        if os.getpid() != self._pid:
            raise ProcessError("a model can be called from the action's own process only, not from one it forked")
        session = self._session or self._next_session()
        self._in_step = False
        self._number += 1
        try:
            session.send(encode(self._number, question))
            while True:
                data, descriptor = packets.receive(session, FRAME_BYTES)
                if not data:
                    raise ConnectionResetError("end of file")
                number, reply = decode_reply(data)
                if number == self._number:
                    break
                if descriptor is not None:  # of a late answer to a question that was interrupted
                    os.close(descriptor)
        except OSError as error:
            self._session = self._arena = None
            session.close()
            raise ProcessError(
                f"the executor, which runs the models, ended during this call ({error}); "
                "the next call finds a new one"
            ) from error
        if isinstance(reply, Failed):
            self._in_step = True
            raise _error(reply)
        return reply, descriptor

    def _next_session(self) -> socket.socket:
        _, descriptor = packets.receive(self._door, 1)
        if descriptor is None:
            raise ProcessError("the executor, which runs the models, has ended for good, and the container with it")
        self._session, self._arena = socket.socket(fileno=descriptor), None
        return self._session


def as_tensor(name: str, value: Any) -> torch.Tensor:
    """A handler's value as a plain CPU tensor. Raises `InputError`."""
    numpy = sys.modules.get("numpy")  # who passes an array has imported it
    if numpy is not None and isinstance(value, numpy.ndarray | numpy.generic):
        try:
            native = value.dtype.newbyteorder("=")
            value = torch.from_numpy(numpy.require(value, native, ["C", "W"]))
        except TypeError as error:
            raise InputError(f"input {name!r} is an array that torch cannot take: {error}") from error
    if not isinstance(value, torch.Tensor):
        raise InputError(f"input {name!r} is a {type(value).__name__}; a model takes tensors and numpy arrays")
    if value.layout is not torch.strided or dtype_name(value) not in layout.DTYPES:
        raise InputError(
            f"input {name!r} is a {dtype_name(value)} tensor of layout {value.layout}; a model takes dense ones of "
            f"{', '.join(layout.DTYPES)}"
        )
    return value.detach()


def _error(failed: Failed) -> InstarError:
    kind = getattr(errors, failed.error, None)
    if not (isinstance(kind, type) and issubclass(kind, InstarError)):
        kind = InstarError
    return kind(failed.text)


_connection: Connection | None = None


def connect(door: socket.socket) -> Connection:
    """Say, once in a worker's life, where its sessions come from."""
    global _connection
    _connection = Connection(door)
    return _connection


def model(name: str | None = None) -> Model:
    """The model of this action; its name, the folder's of its package, is needed where there are several.

    Waits for the model's structure and not for its weights, which a call waits for. Raises `PackageError` if there is
    no such model or its `model.json` is damaged, `ProcessError` outside an action.
    """
    if _connection is None:
        raise ProcessError("instar.model() works inside an action only; elsewhere, `instar run` calls a package")
    return Model(_connection, _connection.describe(name or ""))
