"""A packed model answers with the very bits that its module answers with, at two batch sizes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import instar
from instar.errors import PackError
from instar.executor import load
from instar.weights.store import Store
from tests.models import zoo


def answers(module: torch.nn.Module, inputs: dict[str, torch.Tensor]) -> list[torch.Tensor]:
    with torch.inference_mode():
        return torch.utils._pytree.tree_leaves(module(**inputs))


def check(model: zoo.Model, folder: Path) -> None:
    module = model.module()
    instar.pack(module, model.inputs(2), folder / "package", dims=model.dims, bounds=model.bounds)
    live = load.load(folder / "package", store=Store(folder / "store"))
    for batch in (1, 3):
        inputs = model.inputs(batch)
        expected = answers(module, inputs)
        # A network that has died would be equal to anything, one that has overflowed to nothing.
        assert any(value.float().std() > 0 for value in expected), "the module's answer is constant"
        found = live.run(inputs)
        assert len(found) == len(expected)
        for position, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
            assert torch.equal(ours, theirs), f"output {position} at batch {batch} differs"
            assert ours.dtype == theirs.dtype


@pytest.mark.parametrize("model", [m for m in zoo.ALL if m.name in zoo.FAST], ids=lambda m: m.name)
def test_a_packed_model_answers_like_its_module(model: zoo.Model, tmp_path: Path) -> None:
    check(model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", [m for m in zoo.ALL if m.name not in zoo.FAST], ids=lambda m: m.name)
def test_every_packed_model_answers_like_its_module(model: zoo.Model, tmp_path: Path) -> None:
    check(model, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("model", list(zoo.REFUSED), ids=lambda m: m.name)
def test_a_model_that_cannot_be_traced_is_refused_with_what_to_change(model: zoo.Model, tmp_path: Path) -> None:
    with pytest.raises(PackError, match=r"torch\.export cannot trace .*; .+"):
        instar.pack(model.module(), model.inputs(2), tmp_path / "package", dims=model.dims, bounds=model.bounds)
    assert list(tmp_path.iterdir()) == []


def test_the_list_is_long_and_names_no_model_twice() -> None:
    names = [model.name for model in zoo.ALL]
    assert len(set(names)) == len(names) >= 60
    assert set(zoo.FAST) <= set(names)
