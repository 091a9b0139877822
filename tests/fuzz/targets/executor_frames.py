"""What a worker sends to the executor: frames, and whatever lies in the memory they share.

The promise: every frame has an answer, a `Failed` at worst, whatever was sent before it; none takes more memory
than the arena's limit allows for; and after any sequence of them a good call is answered bit by bit as the module
would.

The input is a sequence of frames, a line each. What it is made of also fills the arena, so that dtypes meet bytes
that no tensor of theirs would have.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from functools import cache
from random import Random

import torch

from instar.errors import PackageError
from instar.executor import arena, protocol
from instar.executor.load import load
from instar.executor.protocol import Answer, Call, Describe, Grow, Grown, TensorRef
from instar.executor.session import Model, Session
from instar.weights import layout
from instar.weights.store import Store
from tests.fuzz import mutations, packages
from tests.fuzz.targets import Target
from tests.runtime.modules import Net

LIMIT_BYTES = 64 << 20
FRAMES = 40  # of one input that are sent
FILLED_BYTES = 1 << 14
WORDS = ("call", "grow", "describe", "net", "pair", "named", "broken", "x", "ids", "mask", *layout.DTYPES)


class Worker:
    """The other end of a session, without processes."""

    def __init__(self) -> None:
        torch.set_num_threads(1)
        broken = PackageError("it is damaged")
        self.session = Session({**_models(), "broken": broken}, arena_bytes=LIMIT_BYTES)
        self.arena: arena.Arena | None = None

    def send(self, data: bytes) -> protocol.Reply:
        sealed = self.session.answer(data)
        assert len(sealed.data) <= protocol.FRAME_BYTES
        _, reply = protocol.decode_reply(sealed.data)
        size = reply.nbytes if isinstance(reply, Grown) else reply.grown if isinstance(reply, Answer) else 0
        assert (sealed.descriptor is not None) is (size > 0)
        if sealed.descriptor is not None:
            self.arena = arena.Arena(sealed.descriptor, size)
            os.close(sealed.descriptor)
        return reply

    def fill(self, data: bytes) -> None:
        if self.arena is not None and data:
            content = (data * (FILLED_BYTES // len(data) + 1))[:FILLED_BYTES]
            whole = self.arena.view(TensorRef("", "uint8", (FILLED_BYTES,), 0))
            whole.copy_(torch.frombuffer(bytearray(content), dtype=torch.uint8))

    def call_well(self) -> None:
        assert isinstance(self.send(protocol.encode(1, Grow(1))), Grown) and self.arena is not None
        x, expected = _expected()
        (ref,), _ = protocol.place([("x", "float32", tuple(x.shape))])
        self.arena.view(ref).copy_(x)
        reply = self.send(protocol.encode(2, Call("net", (ref,))))
        assert isinstance(reply, Answer), reply
        assert torch.equal(self.arena.view(reply.outputs[0]), expected)


def check(data: bytes) -> None:
    worker = Worker()
    for number, line in enumerate(data.split(b"\n")[:FRAMES]):
        worker.send(line)
        if number == 0:
            worker.fill(data)
    worker.call_well()


@cache
def _models() -> dict[str, Model]:
    store = Store(packages.folder() / "store")
    return {name: load(path, store=store) for name, path in packages.packed().items()}


@cache
def _expected() -> tuple[torch.Tensor, torch.Tensor]:
    packages.packed()  # which draws the same weights
    torch.manual_seed(4)
    module = Net().eval()
    x = torch.randn(2, 3, 16, 16)
    with torch.inference_mode():
        return x, module(x)


def seeds() -> Iterable[bytes]:
    _models()  # packing them is not to count against the first input's time
    net = TensorRef("x", "float32", (2, 3, 16, 16), 0)
    ids, mask = TensorRef("ids", "int64", (9,), 0), TensorRef("mask", "bool", (9,), 128)
    named = TensorRef("x", "bfloat16", (3,), 0)
    grow = protocol.encode(1, Grow(1))
    yield b"\n".join((grow, protocol.encode(2, Describe("")), protocol.encode(3, Call("net", (net,)))))
    yield b"\n".join((grow, protocol.encode(2, Call("pair", (ids, mask)))))
    yield b"\n".join((protocol.encode(1, Describe("named")), grow, protocol.encode(7, Call("named", (named,)))))
    yield b"\n".join((protocol.encode(1, Grow(40 << 20)), protocol.encode(2, Call("pair", (mask, ids))), grow))
    yield protocol.encode(1, Call("broken", ()))


def mutate(random: Random, data: bytes) -> bytes | None:
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    if random.random() < 0.2:
        lines.insert(at, random.choice(lines))
    changed = mutations.change(random, lines[at], words=WORDS)
    if changed is None:
        return None
    lines[at] = changed
    return b"\n".join(lines)


TARGET = Target(check, seeds, mutate)
