"""Invariant: for any two models, the steps of the planner make the target's very graph of the source's."""

from __future__ import annotations

import dataclasses
import itertools
import random

from hypothesis import given, settings
from hypothesis import strategies as st

from instar.package import Package
from instar.plan import planner, plans
from instar.plan.costs import Costs
from instar.plan.outline import outline
from instar.plan.plans import Plan
from instar.plan.replay import apply, arrives, replay
from tests.plan.strategies import costs, pairs

# Loading takes for ever, so there always is a plan.
TRANSFORM = Costs("any", {"load": 1e9})


def planned(source: Package, target: Package) -> Plan:
    found = planner.plan(outline(source), outline(target), TRANSFORM)
    assert isinstance(found, Plan)
    return found


def check(source: Package, target: Package) -> None:
    """By way of the bytes that are sent: nothing but the source's graph and the plan is needed."""
    sent = plans.encode(planned(source, target))
    plan = plans.decode(sent)
    graph = replay(plan, source.graph)
    assert graph == target.graph
    assert dataclasses.replace(target, graph=graph).structure_digest == target.structure_digest
    assert arrives(plan, outline(source), outline(target))


@settings(deadline=None)
@given(pairs())
def test_a_plan_between_any_two_models_arrives(pair: tuple[Package, Package]) -> None:
    check(*pair)


@settings(deadline=None)
@given(pairs(), costs(), st.integers(0, 2**32))
def test_steps_arrive_at_any_costs_and_in_any_order(pair: tuple[Package, Package], rates: Costs, seed: int) -> None:
    source, target = map(outline, pair)
    steps = list(planner.steps(source, target, rates))
    random.Random(seed).shuffle(steps)
    assert apply(tuple(steps), source.skeleton) == target.skeleton


def test_a_plan_between_any_two_real_models_arrives(real_models: dict[str, Package]) -> None:
    for source, target in itertools.product(real_models.values(), repeat=2):
        check(source, target)
