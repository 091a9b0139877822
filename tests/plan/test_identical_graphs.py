"""Invariant: between two models of one graph a plan has nothing but replacements, one for each operator."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from instar.package import Package
from instar.plan import planner
from instar.plan.costs import Costs
from instar.plan.metaops import Replace
from instar.plan.outline import outline
from tests.plan.strategies import PLAUSIBLE, costs, package_of, packages


@settings(deadline=None)
@given(packages(), st.lists(st.integers(0, 5), min_size=3, max_size=3), costs())
def test_models_of_one_graph_need_replacements_only(model: Package, numbers: list[int], rates: Costs) -> None:
    source, target = outline(model), outline(package_of(model.graph, numbers.__getitem__))
    steps = planner.steps(source, target, rates)
    assert len(steps) == len(model.graph.nodes)
    assert all(isinstance(step, Replace) for step in steps)


@settings(deadline=None)
@given(packages())
def test_a_model_becomes_itself_without_moving_anything(model: Package) -> None:
    for step in planner.steps(outline(model), outline(model), PLAUSIBLE):
        assert isinstance(step, Replace)
        assert (step.views, step.moved_bytes) == (0, 0)


@settings(deadline=None)
@given(packages())
def test_a_sibling_moves_the_bytes_of_the_weights_that_differ(model: Package) -> None:
    """Each weight that an operator uses is counted once, however often it is used."""
    source = outline(package_of(model.graph, lambda index: index))
    target = outline(package_of(model.graph, lambda index: index + 1000))
    steps = planner.steps(source, target, PLAUSIBLE)
    assert sum(step.moved_bytes for step in steps if isinstance(step, Replace)) == target.nbytes
    assert target.views <= len(model.tensors)
