"""Invariant: a plan is returned only when it is estimated to be clearly faster than loading from scratch."""

from __future__ import annotations

from hypothesis import given, settings

from instar.package import Package
from instar.plan import costs as amounts
from instar.plan import planner
from instar.plan.costs import Costs
from instar.plan.outline import outline
from instar.plan.plans import LoadInstead, Plan
from tests.plan.strategies import costs, pairs
from tests.plan.test_replay_refuses import SOURCE, TARGET


@settings(deadline=None)
@given(pairs(), costs())
def test_a_plan_is_returned_only_when_it_is_estimated_cheaper(pair: tuple[Package, Package], rates: Costs) -> None:
    source, target = map(outline, pair)
    found = planner.plan(source, target, rates)
    work = amounts.of_transformation(source, target, planner.steps(source, target, rates))
    transform, load = (round(rates.cost_ns(w)) for w in (work, amounts.of_load(source, target)))
    assert (found.estimate.transform_ns, found.estimate.load_ns) == (transform, load)
    assert isinstance(found, Plan) == (transform < planner.WORTH * load)
    assert planner.WORTH <= 1
    assert (found.source, found.target) == (pair[0].digest, pair[1].digest)


def test_where_both_take_the_same_time_it_is_loaded() -> None:
    rates = Costs("made up", {"transform": 1e6, "load": 1e6})
    found = planner.plan(outline(SOURCE), outline(TARGET), rates)
    assert isinstance(found, LoadInstead)
    assert "no slower on made up, or nearly so: 1.000 ms to transform, 1.000 ms to load" in found.reason
