"""Nobody runs a model that is becoming another one, and a model that runs does not become another one."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from instar.errors import BusyError, TransformationError
from instar.executor import load, transform
from instar.executor.live import LiveModel
from instar.weights.arrival import Arrival
from instar.weights.fetch import Fetcher
from instar.weights.manifest import WEIGHTS_FILE
from instar.weights.store import Store
from tests.packages.test_arriving import Bringing, running
from tests.transform.conftest import Packed


def test_a_model_that_runs_is_left_alone(
    packed: dict[str, Packed], fetcher: Fetcher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run waits for weights that come only after the attempt: so there is no doubt that it was running.
    source, target = packed["vectors-wide"], packed["mobile"]
    bringing = Bringing(source.directory, Store(tmp_path / "store"))
    model = LiveModel(bringing.prepared, bringing.begin, load.bind)
    waits, wait = threading.Event(), Arrival.wait
    monkeypatch.setattr(Arrival, "wait", lambda *arguments: (waits.set(), wait(*arguments)))
    with running(model, source.inputs["input"]) as found:
        assert waits.wait(60)
        with pytest.raises(BusyError, match="1 calls use this model"):
            transform.into(model, target.directory, fetcher=fetcher)
        assert not model.is_dirty
        for chunk in bringing.chunks:
            bringing.bring(chunk)
    assert isinstance(found[0], torch.Tensor) and torch.equal(found[0], source.answers[0])
    source.check(model)
    transform.into(model, target.directory, fetcher=fetcher)
    target.check(model)
    model.close()
    bringing.owner.close()


def test_a_call_that_comes_meanwhile_is_told_so_at_once(packed: dict[str, Packed], fetcher: Fetcher) -> None:
    source, target = packed["residual"], packed["residual-sibling"]
    model = source.load(fetcher)
    weights = target.prepared.weights

    def bring() -> Arrival:
        with ThreadPoolExecutor(1) as threads:  # another thread, while the model is being changed
            for call in (lambda: model.run(source.inputs), model.wait):
                with pytest.raises(TransformationError, match="is becoming another one"):
                    threads.submit(call).result(60)
        return fetcher.begin(weights, target.directory / WEIGHTS_FILE)

    transform.transform(model, target.prepared, bring)
    target.check(model)
    model.close()


def test_calls_and_changes_at_once_give_answers_of_one_model_or_an_error(
    packed: dict[str, Packed], fetcher: Fetcher
) -> None:
    # Invariant: an answer is, bit by bit, that of the source or that of the target, never of something between.
    pair = packed["residual"], packed["residual-sibling"]
    model = pair[0].load(fetcher)
    inputs, ends, answered = pair[0].inputs, threading.Event(), threading.Event()
    wanted = []
    for each in pair:
        fresh = each.load(fetcher)
        wanted.append(fresh.run(inputs)[0])
        fresh.close()

    def call() -> int:
        answers = 0
        while not ends.wait(0.001):  # so that there are moments in which nobody calls
            try:
                got = model.run(inputs)[0]
            except TransformationError:
                continue
            assert any(torch.equal(got, one) for one in wanted)
            answers += 1
            answered.set()
        return answers

    changed = 0
    with ThreadPoolExecutor(2) as threads:
        calls = [threads.submit(call) for _ in range(2)]
        try:
            for number in range(20_000):
                with suppress(BusyError):
                    transform.into(model, pair[number % 2].directory, fetcher=fetcher)
                    changed += 1
                if changed >= 40 and answered.is_set():
                    break
        finally:
            ends.set()
        answers = sum(one.result(60) for one in calls)
    assert answers > 0 and changed > 0 and not model.is_dirty
    model.close()
