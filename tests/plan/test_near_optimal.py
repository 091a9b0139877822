"""How much more the linear plan costs than the cheapest one that there is: never less, and on average little more."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest
from hypothesis import given, settings

from instar.graph import ir
from instar.package import Package
from instar.plan import planner
from instar.plan.costs import Costs
from instar.plan.metaops import Add, Edge, Reduce, Reshape
from instar.plan.outline import outline
from tests.plan import optimal
from tests.plan.strategies import PLAUSIBLE, costs, network, package_of, pairs

ROUNDING = 1 - 1e-9


@settings(deadline=None)
@given(pairs(), costs())
def test_no_plan_is_cheaper_than_the_optimal_one(pair: tuple[Package, Package], rates: Costs) -> None:
    source, target = map(outline, pair)
    linear, least = (of(source, target, rates) for of in (optimal.linear_ns, optimal.cost_ns))
    assert linear >= least * ROUNDING


@pytest.mark.parametrize("seed", range(3))
def test_plans_between_random_networks_cost_little_more_than_optimal_ones(seed: int) -> None:
    rng = random.Random(seed)
    models = [outline(network(rng)) for _ in range(4)]
    ratios = [
        optimal.linear_ns(a, b, PLAUSIBLE) / optimal.cost_ns(a, b, PLAUSIBLE)
        for a, b in itertools.permutations(models, 2)
    ]
    print(f"seed {seed}: linear/optimal median {statistics.median(ratios):.4f}, worst {max(ratios):.4f}")
    assert min(ratios) >= ROUNDING and max(ratios) <= 1.10


@pytest.mark.parametrize("seed", range(3))
def test_plans_cost_little_more_than_optimal_ones_at_odd_rates_too(seed: int) -> None:
    """Each rate up to thirty times more or less than it is likely to be, so that reshaping may not be worth it.

    Only that nothing is cheaper than to replace an operator: between equal graphs the planner does nothing else.
    """
    rng = random.Random(seed)
    models = [outline(network(rng)) for _ in range(3)]
    for _ in range(5):
        odd = {name: rate * 10 ** rng.uniform(-1.5, 1.5) for name, rate in PLAUSIBLE.rates_ns.items()}
        rates = Costs("odd", odd | {"replace": min(odd["replace"], odd["reshape"], odd["reduce"] + odd["add"])})
        for a, b in itertools.permutations(models, 2):
            ratio = optimal.linear_ns(a, b, rates) / optimal.cost_ns(a, b, rates)
            assert ROUNDING <= ratio <= 1.10, f"seed {seed}: {ratio:.4f} at {rates}"


def test_an_operator_is_made_anew_where_reshaping_costs_more() -> None:
    narrow, wide = (outline(one_operator(width)) for width in (4, 8))
    for add, kinds in ((99.0, {Add, Reduce, Edge}), (101.0, {Reshape, Edge})):
        rates = Costs(
            "made up", {"reshape": 150.0, "reduce": 20.0, "add": 1.0, "add aten.relu.default": add + 30.0 - 1.0}
        )
        assert {type(step) for step in planner.steps(narrow, wide, rates)} == kinds


def one_operator(width: int) -> Package:
    full = ir.TensorType("float32", (2, width))
    node = ir.Node("aten.relu.default", (ir.Value(0),), (), full)
    return package_of(ir.Graph((full,), (), (node,), (ir.Value(1),)), lambda _: 0)


def test_plans_between_real_models_cost_little_more_than_optimal_ones(real_models: dict[str, Package]) -> None:
    models = [outline(real_models[name]) for name in ("resnet20_cifar10", "nin_cifar10", "mobilenetb_wd4", "gpt2")]
    for a, b in itertools.permutations(models, 2):
        ratio = optimal.linear_ns(a, b, PLAUSIBLE) / optimal.cost_ns(a, b, PLAUSIBLE)
        print(f"{a} → {b}: linear/optimal {ratio:.4f}")
        assert ROUNDING <= ratio <= 1.10
