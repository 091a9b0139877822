"""Every way to a first answer that the benchmark of transformations times gives a fresh load's answer."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.bench import transform_kept
from tests.bench.transform_figures import LOAD, TRANSFORM
from tests.bench.transform_kept import Packed
from tests.bench.transform_models import SMALL
from tests.bench.transform_subjects import REFERENCES, WARM, Target

MODELS = [SMALL["residual"], SMALL["residual-deep"]]


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Packed]]:
    monkeypatch.setattr(transform_kept, "KEPT", tmp_path / "kept")
    with transform_kept.packed(MODELS, tmp_path / "store", lambda what: None) as found:
        yield found


@pytest.fixture
def target(models: dict[str, Packed], tmp_path: Path) -> Target:
    folder = tmp_path / "target"
    folder.mkdir()
    return Target(models["residual"], folder)


def test_every_way_gives_a_fresh_loads_answer(target: Target, models: dict[str, Packed]) -> None:
    source = models["residual-deep"]
    found = {name: target.reference(name) for name in REFERENCES}
    found |= {name: target.way(name, source, is_warm_wanted=True) for name in (TRANSFORM, LOAD)}
    for name, taken in found.items():
        # A stock safetensors file places tensors where torch's kernels may add in another order.
        assert taken.is_equal or name == "b1", name
        assert 0 <= taken.structure_ms <= taken.bound_ms <= taken.first_ms, name
        assert name == WARM or taken.bound_ms > 0, name


def test_warm_passes_are_taken_only_where_they_are_wanted(target: Target, models: dict[str, Packed]) -> None:
    for is_wanted in (True, False):
        taken = target.way(TRANSFORM, models["residual-deep"], is_warm_wanted=is_wanted)
        assert (taken.warm_ms is not None) is is_wanted


def test_an_answer_that_differs_by_a_bit_is_told_and_one_that_is_not_close_stops_it(target: Target) -> None:
    one_bit = target.expected.clone()
    one_bit[0, 0] = torch.nextafter(one_bit[0, 0], torch.tensor(9.0))
    assert target.is_equal(target.expected.clone())
    assert not target.is_equal(one_bit)
    with pytest.raises(AssertionError):
        target.is_equal(target.expected + 1)


def test_what_was_packed_is_kept_for_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transform_kept, "KEPT", tmp_path / "kept")
    told: list[str] = []
    for run in ("first", "second"):
        with transform_kept.packed(MODELS[:1], tmp_path / run, told.append) as found:
            assert found["residual"].answers()[0].shape == (2, 7)
    assert told == ["residual: pack", "residual: fetch", "residual: fetch"]


def test_what_other_code_has_packed_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transform_kept, "KEPT", tmp_path / "kept")
    other = tmp_path / "kept" / "of another release"
    other.mkdir(parents=True)
    with transform_kept.packed([], tmp_path / "store", lambda what: None):
        assert not other.exists()
