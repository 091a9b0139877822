"""Invariant: what a plan costs does not depend on the order of its steps, not in the last bit."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from instar.package import Package
from instar.plan import costs as amounts
from instar.plan import planner
from instar.plan.costs import Costs
from instar.plan.outline import outline
from tests.plan.strategies import costs, pairs


@settings(deadline=None)
@given(pairs(), costs(), st.integers(0, 2**32))
def test_cost_is_the_same_in_every_order(pair: tuple[Package, Package], rates: Costs, seed: int) -> None:
    steps = list(planner.steps(*map(outline, pair), rates))
    before = rates.cost_ns(amounts.of_steps(steps))
    random.Random(seed).shuffle(steps)
    assert rates.cost_ns(amounts.of_steps(steps)) == before


@settings(deadline=None)
@given(pairs(), costs())
def test_every_step_is_counted(pair: tuple[Package, Package], rates: Costs) -> None:
    source, target = map(outline, pair)
    steps = planner.steps(source, target, rates)
    work = amounts.of_steps(steps)
    edges = int(source.skeleton != target.skeleton)
    assert work["replace"] + work["reshape"] + work["reduce"] + work["add"] + edges == len(steps)
    assert work["replace"] + work["reshape"] + work["reduce"] == len(source.operators)
    assert work["replace"] + work["reshape"] + work["add"] == len(target.operators)
    assert sum(count for name, count in work.items() if name.startswith("add ")) == work["add"]
    assert work["edge"] == edges * len(target.operators)
    assert work["moved byte"] <= target.nbytes and work["view"] <= target.views
