"""What the processes of a container tell each other: proxy, zygote, executor and worker.

The promise: a frame decodes to what encodes to the same again, or it is a `ProtocolError`; and no answer that a
worker can send makes the proxy hold much more memory than the answer has.

The first byte says which of the decoders gets the rest.
"""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Callable, Iterable
from random import Random

from instar.action import frames
from instar.errors import ProtocolError
from instar.executor import proposals, protocol
from instar.executor.protocol import Answer, Described, Failed, Grown, TensorRef
from instar.graph import ir
from instar.graph.signature import Bounds, Port, Signature
from tests.fuzz import mutations
from tests.fuzz.targets import Target

LIMIT_BYTES = 1 << 20  # of a frame of a worker's, as the proxy is told
BESIDE_BYTES = 4 << 20
HEADER = frames.HEADER.size
MESSAGE = 3  # number of its decoder
START = 1  # the kind that the proxy sends
WORDS = ("frame", "fork", "bury", "environ", "status", "error", "answer", "failed", "float32", "bool")


def check(data: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        DECODERS[data[0] % len(DECODERS) if data else 0](data[1:])


def _control(data: bytes) -> None:
    frame = frames.decode_control(data)
    assert frames.decode_control(frames.encode_control(frame)) == frame


def _order(data: bytes) -> None:
    frame = protocol.decode_order(data)
    assert protocol.decode_order(protocol.encode_order(frame)) == frame


def _proposal(data: bytes) -> None:
    proposal = proposals.decode(data)
    assert proposals.decode(proposals.encode(proposal)) == proposal


def _proposed(data: bytes) -> None:
    answer = proposals.decode_answer(data)
    if len(data) < proposals.REASON_CHARACTERS:  # longer reasons are cut short
        assert proposals.decode_answer(proposals.encode_answer(answer)) == answer


def _reply(data: bytes) -> None:
    number, frame = protocol.decode_reply(data)
    assert protocol.decode_reply(protocol.encode(number, frame)) == (number, frame) or isinstance(frame, Failed)


def _message(data: bytes) -> None:
    header, payload = data[:HEADER].ljust(HEADER, b"\0"), data[HEADER:]
    wanted = frames.payload_bytes(header, limit=LIMIT_BYTES)
    assert wanted <= LIMIT_BYTES
    payload = payload[:wanted].ljust(wanted)
    tracemalloc.start()
    try:
        frame = frames.decode_message(header, payload)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        if header[0] != START:
            assert peak <= len(payload) + BESIDE_BYTES, f"{len(payload)} bytes became {peak}"
    if not isinstance(frame, frames.NotStarted | frames.Refused):  # whose texts are cut short
        assert frames.decode_message(*frames.encode_message(frame, 0)) == frame


DECODERS: tuple[Callable[[bytes], None], ...] = (_control, _order, _reply, _message, _proposal, _proposed)


def seeds() -> Iterable[bytes]:
    for control in (
        frames.Fork((("m", "/a/m"),), "/store", "/own", "/a"),
        frames.Forked(7),
        frames.Bury(),
        frames.Supersede(),
        frames.Renew(),
        frames.Propose(),
        frames.Buried(-9),
    ):
        yield b"\0" + frames.encode_control(control)
    models = (("m", "/a/m"), ("n", "/a/n"))
    yield b"\1" + protocol.encode_order(protocol.Open(models, "/store", "/own"))
    yield b"\1" + protocol.encode_order(protocol.Consider())
    for plan in (None, b"{}"):
        yield b"\4" + proposals.encode(proposals.Proposal(models, "/store", "/own", plan))
    for answer in (proposals.Agreed(), proposals.Declined("no"), proposals.Outcome("m", None, 9)):
        yield b"\5" + proposals.encode_answer(answer)
    ref = TensorRef("y", "float32", (1, 7), 64)
    port = Port("x", ir.TensorType("float32", ("n", 3)))
    described = Described("m", Signature((port,), (port,), "tensor", (("n", Bounds(1, 9)),)))
    for reply in (described, Grown(64), Answer((ref,), 0), Failed("E", "t")):
        yield b"\2" + protocol.encode(3, reply)
    for message in (
        frames.Start("/a", "/a/main.py", "main", {"A": "b"}, 1 << 20), frames.Started(), frames.NotStarted("no"),
        frames.Run(b"{}"), frames.Finished(b"{}\n"), frames.Refused(502, "why"),
    ):  # fmt: skip
        yield b"\3" + b"".join(frames.encode_message(message, 5))


def mutate(random: Random, data: bytes) -> bytes | None:
    head = 1 if not data or data[0] % len(DECODERS) != MESSAGE else 1 + HEADER
    changed = mutations.change(random, data[head:], words=WORDS)
    if changed is None:
        return None
    if head == 1:
        return data[:1] + changed
    return data[:1] + frames.HEADER.pack(data[1], 5, len(changed)) + changed


TARGET = Target(check, seeds, mutate)
