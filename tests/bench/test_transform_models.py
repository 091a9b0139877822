"""Which pairs the benchmark of transformations looks at."""

from __future__ import annotations

import pytest

from tests.bench.transform_figures import ACROSS, FAMILY, SAME
from tests.bench.transform_models import ALL, FAMILIES, FEW, LARGE, MODELS, SMALL, Selection


@pytest.mark.parametrize("selection", [ALL, FEW], ids=["all", "few"])
def test_every_figure_has_pairs_to_be_made_of(selection: Selection) -> None:
    kinds = {kind for name in selection.timed for _, kind in selection.sources(name)}
    assert kinds == {SAME, FAMILY, ACROSS}


def test_each_of_the_nine_is_made_of_its_sibling_and_of_each_other_one() -> None:
    assert len(LARGE) == 9
    for name in LARGE:
        sources = dict(ALL.sources(name))
        assert sources[f"{name} sibling"] == SAME
        assert set(LARGE) - {name} <= set(sources)


def test_models_of_a_family_become_each_other_both_ways() -> None:
    for family in FAMILIES:
        for target in family:
            assert {name for name, kind in ALL.sources(target) if kind == FAMILY} == family - {target}


def test_a_model_beside_the_nine_is_measured_within_its_family_alone() -> None:
    assert dict(ALL.sources("resnet101")) == dict.fromkeys(("resnet18", "resnet50", "resnet152"), FAMILY)


@pytest.mark.parametrize("selection", [ALL, FEW], ids=["all", "few"])
def test_every_source_is_packed_once(selection: Selection) -> None:
    names = [model.name for model in selection.models()]
    assert len(names) == len(set(names))
    assert {source for name in selection.timed for source, _ in selection.sources(name)} <= set(names)


def test_answers_are_compared_for_the_pairs_of_24_models_and_more() -> None:
    assert len(SMALL) >= 24
    assert not SMALL.keys() & MODELS.keys()
