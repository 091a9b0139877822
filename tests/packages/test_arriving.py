"""A model answers while its weights arrive: in any order, bit by bit as if they had been there, or not at all."""

from __future__ import annotations

import contextlib
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import instar
from instar.errors import DigestError, InstarError, SourceError
from instar.executor import live, load
from instar.executor.prepare import Prepared
from instar.weights import layout
from instar.weights.arrival import Arrival
from instar.weights.manifest import WEIGHTS_FILE
from instar.weights.store import Partial, Store

CHUNK_BYTES = 4096
SEEDS = range(8)


@pytest.fixture(scope="module")
def chunked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[torch.nn.Module, Path]]:
    """A module, and its package cut into many small chunks."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(layout, "CHUNK_BYTES", CHUNK_BYTES)
        torch.manual_seed(1)
        module = torch.nn.Sequential(*(torch.nn.Linear(40, 40) for _ in range(12)), torch.nn.Linear(40, 7)).eval()
        directory = tmp_path_factory.mktemp("chunked") / "model"
        instar.pack(module, {"input": torch.zeros(2, 40)}, directory)
    yield module, directory


class Bringing:
    """Weights that come when the test says so: into a real store, by nobody's threads."""

    def __init__(self, directory: Path, store: Store) -> None:
        self.prepared: Prepared = load.structure(directory, store=store)
        self.data = (directory / WEIGHTS_FILE).read_bytes()
        self.store = store
        self.error: InstarError | None = None
        self.fetched_bytes = self.reused_bytes = 0
        self.begun = 0
        self.waited_for = threading.Event()  # somebody has begun to wait
        self.owner = self._partial()

    def _partial(self) -> Partial:
        partial = self.store.partial(self.prepared.weights)
        assert partial is not None
        return partial

    def begin(self) -> Arrival:
        self.begun += 1
        self.error = None
        weights = self.prepared.weights
        return Arrival(weights, self._partial(), self, asks=self.store.asks, nudge=self.waited_for.set, patience_s=30)

    def bring(self, chunk: int) -> None:
        size = self.prepared.weights.chunk_bytes
        self.owner.write(chunk * size, memoryview(self.data)[chunk * size :][:size])
        self.owner.map.mark(chunk)

    def fail(self, error: InstarError) -> None:
        self.error = error
        self.owner.map.ring()

    @property
    def chunks(self) -> list[int]:
        return list(range(len(self.prepared.weights.chunks)))


@pytest.fixture
def bringing(chunked: tuple[torch.nn.Module, Path], tmp_path: Path) -> Iterator[Bringing]:
    found = Bringing(chunked[1], Store(tmp_path / "store"))
    yield found
    found.owner.close()


@contextlib.contextmanager
def running(model: live.LiveModel, x: torch.Tensor) -> Iterator[list[torch.Tensor | InstarError]]:
    """Runs a model in a thread of its own; the list has its answer, or its error, after the block."""
    found: list[torch.Tensor | InstarError] = []

    def run() -> None:
        try:
            found.append(model.run({"input": x})[0])
        except InstarError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    yield found
    thread.join(60)
    assert not thread.is_alive()


def answer(module: torch.nn.Module, x: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return module(x)  # type: ignore[no-any-return]


@pytest.mark.parametrize("seed", SEEDS)
def test_answers_are_bit_equal_in_whatever_order_weights_arrive(
    chunked: tuple[torch.nn.Module, Path], bringing: Bringing, seed: int
) -> None:
    # A stage that ran before its chunks were there would have computed with zeros.
    x = torch.randn(2, 40)
    order = bringing.chunks
    assert len(order) > 15
    random.Random(seed).shuffle(order)
    model = live.LiveModel(bringing.prepared, bringing.begin, load.bind)
    with running(model, x) as found:
        for chunk in order:
            assert not found
            bringing.bring(chunk)
    (got,) = found
    assert isinstance(got, torch.Tensor) and torch.equal(got, answer(chunked[0], x))
    assert model.is_ready
    model.close()


def test_once_all_is_there_the_program_without_gates_takes_over(
    chunked: tuple[torch.nn.Module, Path], bringing: Bringing, monkeypatch: pytest.MonkeyPatch
) -> None:
    x = torch.randn(2, 40)
    model = live.LiveModel(bringing.prepared, bringing.begin, load.bind)
    for chunk in bringing.chunks:
        bringing.bring(chunk)

    def no_wait(*_: object) -> None:
        raise AssertionError("a free program asked a gate")

    monkeypatch.setattr(Arrival, "wait", no_wait)
    for _ in range(2):
        assert torch.equal(model.run({"input": x})[0], answer(chunked[0], x))
    model.close()


def test_a_run_waits_only_for_what_it_needs(chunked: tuple[torch.nn.Module, Path], bringing: Bringing) -> None:
    model = live.LiveModel(bringing.prepared, bringing.begin, load.bind)
    _, stages = bringing.prepared.program.gated()
    needs = live.needed(bringing.prepared, stages)
    assert len(stages) > 10
    assert {chunk for ranges in needs for a, b in ranges for chunk in range(a, b + 1)} == set(bringing.chunks)
    reached: list[int] = []
    for ranges in needs:  # in the order of execution no stage needs what lies behind it
        reached.append(max([b for _, b in ranges], default=-1))
        assert reached[-1] == max(reached) or not ranges
    model.close()


def test_what_goes_wrong_is_told_to_the_run_and_the_next_one_begins_afresh(
    chunked: tuple[torch.nn.Module, Path], bringing: Bringing
) -> None:
    x = torch.randn(2, 40)
    model = live.LiveModel(bringing.prepared, bringing.begin, load.bind)
    with running(model, x) as found:
        assert bringing.waited_for.wait(60)  # a run that begins after a failure has them brought afresh
        bringing.bring(0)
        bringing.fail(DigestError("chunk 1 is another one"))
    assert str(found[0]) == "chunk 1 is another one"
    assert not model.is_ready and bringing.begun == 1
    bringing.waited_for.clear()
    with running(model, x) as found:
        assert bringing.waited_for.wait(60)
        for chunk in bringing.chunks[1:]:
            bringing.bring(chunk)
    assert bringing.begun == 2
    assert isinstance(found[0], torch.Tensor) and torch.equal(found[0], answer(chunked[0], x))
    model.close()


def test_an_abandoned_run_gives_up(bringing: Bringing) -> None:
    model = live.LiveModel(bringing.prepared, bringing.begin, load.bind)
    with running(model, torch.randn(2, 40)) as found:
        model.abandon()
    assert isinstance(found[0], SourceError)
    model.close()


def test_what_the_weights_cost_is_counted(bringing: Bringing) -> None:
    bringing.bring(0)
    model = live.LiveModel(bringing.prepared, bringing.begin, load.bind)
    with running(model, torch.randn(2, 40)):
        assert bringing.waited_for.wait(60)
        for chunk in bringing.chunks[1:]:
            bringing.bring(chunk)
    spent = model.spent()
    assert spent.present_bytes == CHUNK_BYTES
    assert spent.fetched_bytes == len(bringing.data) - CHUNK_BYTES
    assert spent.waited_ns > 0
    model.close()
    assert model.spent() == spent


def test_a_model_without_weights_is_ready_at_once(tmp_path: Path) -> None:
    instar.pack(torch.nn.ReLU(), {"input": torch.zeros(2)}, tmp_path / "model")
    model = load.load(tmp_path / "model", store=Store(tmp_path / "store"))
    assert model.is_ready
    assert torch.equal(model.run({"input": torch.tensor([-1.0, 2.0])})[0], torch.tensor([0.0, 2.0]))
    model.close()
