"""One worker's session with the executor, without processes: nothing that is sent makes it raise."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instar.errors import InputError, InstarError, PackageError
from instar.executor import arena, protocol
from instar.executor.protocol import Answer, Call, Describe, Failed, Grow, Grown, TensorRef
from instar.executor.session import Session
from instar.graph import ir
from instar.graph.signature import Port, Signature

MIB = 1 << 20


class Doubling:
    """A stand-in for a live model: `x [4]` to twice that. Fails as live models do."""

    signature = Signature(
        (Port("x", ir.TensorType("float32", (4,))),), (Port("y", ir.TensorType("float32", (4,))),), "tensor", ()
    )

    def run(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
        if set(inputs) != {"x"}:
            raise InputError("the model takes the inputs x")
        if inputs["x"].numel() == 3:
            raise RuntimeError("of torch")
        return (inputs["x"] * 2,)


class Worker:
    """The worker's end: frames in, frames out, and its mapping of the arena."""

    def __init__(self, models: Mapping[str, Any]) -> None:
        self.session = Session(models, arena_bytes=64 * MIB)
        self.arena: arena.Arena | None = None

    def send(self, data: bytes) -> protocol.Reply:
        sealed = self.session.answer(data)
        _, reply = protocol.decode_reply(sealed.data)
        if sealed.descriptor is not None:
            size = reply.nbytes if isinstance(reply, Grown) else reply.grown  # type: ignore[union-attr]
            self.arena = arena.Arena(sealed.descriptor, size)
            os.close(sealed.descriptor)
        return reply

    def ask(self, question: protocol.Question) -> protocol.Reply:
        return self.send(protocol.encode(1, question))

    def double(self, values: list[float]) -> list[float]:
        """A whole call, which shows that the session still works."""
        assert isinstance(self.ask(Grow(1)), Grown) and self.arena is not None
        ref = TensorRef("x", "float32", (len(values),), 0)
        self.arena.view(ref).copy_(torch.tensor(values))
        reply = self.ask(Call("d", (ref,)))
        assert isinstance(reply, Answer), reply
        return self.arena.view(reply.outputs[0]).tolist()  # type: ignore[no-any-return]


@pytest.fixture
def worker() -> Iterator[Worker]:
    yield Worker({"d": Doubling(), "broken": PackageError("it is damaged")})


def failure(reply: protocol.Reply) -> tuple[str, str]:
    assert isinstance(reply, Failed), reply
    return reply.error, reply.text


def test_a_call_answers_in_the_arena(worker: Worker) -> None:
    assert worker.double([1.0, 2.0, 3.0, 4.0]) == [2.0, 4.0, 6.0, 8.0]


FORGED: list[Any] = [
    [],
    None,
    [1],
    [1, "call"],
    [1, "call", "d", 5],
    [1, "grow", -1],
    [1, "grow", 1 << 60],
    [1, "grow", True],
    [-1, "grow", 1],
    ["1", "grow", 1],
    [1, "call", "d", [["x", "float32", [4], 64 * MIB]]],  # behind the arena
    [1, "call", "d", [["x", "float32", [4 * MIB], 64]]],  # across its end
    [1, "call", "d", [["x", "float32", [1 << 47], 0]]],
    [1, "call", "d", [["x", "float32", [4], 0], ["x", "float32", [4], 0], ["y", "bool", [0], 0]]],
    [1, "call", "nobody", [["x", "float32", [4], 0]]],
    [1, "call", "d" * 1000, []],
    [1, "describe", ["d"]],
]


@pytest.mark.parametrize("document", FORGED, ids=lambda d: json.dumps(d)[:50])
def test_a_forged_frame_is_answered_with_an_error(worker: Worker, document: Any) -> None:
    worker.double([1.0, 1.0, 1.0, 1.0])
    error, _ = failure(worker.send(json.dumps(document).encode()))
    assert error in ("ProtocolError", "InputError", "PackageError")
    assert worker.double([1.0, 2.0, 3.0, 4.0]) == [2.0, 4.0, 6.0, 8.0]


@given(st.binary(max_size=300))
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_noise_is_answered_with_an_error(worker: Worker, data: bytes) -> None:
    assert failure(worker.send(data))[0] == "ProtocolError"


def test_a_frame_that_is_too_long_is_answered_with_an_error(worker: Worker) -> None:
    assert failure(worker.send(b" " * (protocol.FRAME_BYTES + 1)))[0] == "ProtocolError"


def test_a_call_before_there_is_an_arena_is_refused(worker: Worker) -> None:
    assert failure(worker.ask(Call("d", (TensorRef("x", "float32", (4,), 0),))))[0] == "ProtocolError"


def test_what_torch_raises_becomes_an_execution_error(worker: Worker) -> None:
    worker.double([1.0] * 4)
    assert failure(worker.ask(Call("d", (TensorRef("x", "float32", (3,), 0),)))) == (
        "ExecutionError",
        "RuntimeError: of torch",
    )


def test_a_model_that_could_not_be_loaded_says_why_each_time(worker: Worker) -> None:
    for _ in range(2):
        assert failure(worker.ask(Describe("broken"))) == ("PackageError", "it is damaged")


def test_an_error_of_a_class_of_our_own_travels_as_its_nearest_public_one() -> None:
    class Local(PackageError):
        pass

    assert failure(Worker({"m": Local("text")}).ask(Describe("m"))) == ("PackageError", "text")
    assert issubclass(Local, InstarError)


def test_an_arenas_size_cannot_be_changed(worker: Worker) -> None:
    sealed = worker.session.answer(protocol.encode(1, Grow(1)))
    assert sealed.descriptor is not None
    for change in (0, 1 << 30):
        with pytest.raises(PermissionError):
            os.ftruncate(sealed.descriptor, change)
    os.close(sealed.descriptor)


def test_no_arena_is_larger_than_the_limit(worker: Worker) -> None:
    error, text = failure(worker.ask(Grow(65 * MIB)))
    assert error == "InputError" and "at most 67108864 pass" in text


def test_inputs_that_change_during_a_call_cannot_be_seen_by_the_model() -> None:
    """The model sees a copy: what it computes with is what was there when the call was taken."""
    seen: list[torch.Tensor] = []

    class Watching(Doubling):
        def run(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
            assert worker.arena is not None
            worker.arena.view(TensorRef("x", "float32", (4,), 0)).fill_(666.0)
            seen.append(inputs["x"])
            return (inputs["x"],)

    worker = Worker({"d": Watching()})
    assert worker.double([1.0, 2.0, 3.0, 4.0]) == [1.0, 2.0, 3.0, 4.0]
    assert seen[0].tolist() == [1.0, 2.0, 3.0, 4.0]


def test_any_byte_that_a_worker_writes_for_a_bool_is_one_or_none(worker: Worker) -> None:
    seen: list[torch.Tensor] = []

    class Watching(Doubling):
        def run(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
            seen.append(inputs["x"].view(torch.uint8))
            return (torch.zeros(4),)

    worker = Worker({"d": Watching()})
    worker.ask(Grow(1))
    assert worker.arena is not None
    worker.arena.view(TensorRef("x", "uint8", (4,), 0)).copy_(torch.tensor([0, 1, 2, 255]))
    assert isinstance(worker.ask(Call("d", (TensorRef("x", "bool", (4,), 0),))), Answer)
    assert seen[0].tolist() == [0, 1, 1, 1]


def test_an_answer_that_fits_no_frame_keeps_no_descriptor_open() -> None:
    class Wordy(Doubling):
        signature = Signature(
            (), (Port("y" * protocol.FRAME_BYTES, ir.TensorType("float32", (8 * MIB,))),), "tensor", ()
        )

        def run(self, inputs: Mapping[str, torch.Tensor]) -> tuple[torch.Tensor, ...]:
            return (torch.zeros(8 * MIB),)

    worker = Worker({"d": Wordy()})
    assert isinstance(worker.ask(Grow(1)), Grown)
    before = arenas()  # on either side
    for _ in range(3):
        assert failure(worker.send(protocol.encode(1, Call("d", ()))))[0] == "ProtocolError"
        assert isinstance(worker.ask(Grow(1)), Grown)
    assert arenas() == before


def arenas() -> int:
    """Descriptors of arenas that this process has; of others it may open and close some at any moment."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed by another thread, or the listing's own
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return sum("instar-arena" in link for link in links)
