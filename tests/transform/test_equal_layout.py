"""Where tensors lie alike, nothing is made anew but the mapping; otherwise only what lies elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from instar.executor import transform
from instar.weights import kernel
from instar.weights.fetch import Fetcher
from tests.transform import families
from tests.transform.conftest import Packed, _packed, weights


@pytest.mark.parametrize("sibling", [model.name for model in families.SIBLINGS])
def test_a_sibling_takes_over_every_tensor_and_every_name(
    packed: dict[str, Packed], fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch, sibling: str
) -> None:
    source, target = packed[sibling.removesuffix("-sibling")], packed[sibling]
    assert source.prepared.structure_digest == target.prepared.structure_digest
    model = source.load(fetcher)
    tensors, names = list(weights(model)), model._names
    calls: list[str] = []
    map_over = kernel.map_over
    monkeypatch.setattr(kernel, "map_over", lambda *a: (calls.append("map_over"), map_over(*a))[1])
    monkeypatch.setattr(kernel, "cover", lambda *a: calls.append("cover"))
    monkeypatch.setattr(torch, "as_strided", None)  # no view is made
    transform.into(model, target.directory, fetcher=fetcher)
    assert calls == ["map_over"]
    assert model._names is names
    assert all(a is b for a, b in zip(weights(model), tensors, strict=True))
    target.check(model)
    model.close()


def test_a_tensor_that_lies_alike_is_kept_and_the_others_are_made(
    root: Path, fetcher: Fetcher, packed: dict[str, Packed]
) -> None:
    source = packed["vectors"]
    other = families.model(
        "vectors-other-end", lambda: families.dense(12, 16, 9), lambda: {"input": torch.randn(2, 12)}
    )
    target = _packed(other, root / "other-end", fetcher)
    model = source.load(fetcher)
    before = list(weights(model))
    transform.into(model, target.directory, fetcher=fetcher)
    kept = [a is b for a, b in zip(before, weights(model), strict=True)]
    assert kept == [a == b for a, b in zip(source.prepared.views, target.prepared.views, strict=True)]
    assert True in kept and False in kept
    target.check(model)
    model.close()


def test_operators_that_are_there_already_are_kept(packed: dict[str, Packed], fetcher: Fetcher) -> None:
    model = packed["residual"].load(fetcher)
    before = dict(model._names)
    transform.into(model, packed["squeezing"].directory, fetcher=fetcher)
    after = model._names
    shared = [name for name in before.keys() & after.keys() if name.startswith("aten")]
    assert len(shared) > 3
    assert all(before[name] is after[name] for name in shared)
    wanted = {name for name, _ in packed["squeezing"].prepared.program.operators}
    assert {name for name in after if name.startswith("aten")} == wanted
    model.close()
