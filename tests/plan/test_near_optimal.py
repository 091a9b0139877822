"""How much more the linear plan costs than the cheapest one that there is: never less, and on average little more."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest
from hypothesis import given

from instar.package import Package
from instar.plan.costs import Costs
from instar.plan.outline import outline
from tests.plan import optimal
from tests.plan.strategies import PLAUSIBLE, costs, network, pairs

ROUNDING = 1 - 1e-9


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


def test_plans_between_real_models_cost_little_more_than_optimal_ones(real_models: dict[str, Package]) -> None:
    models = [outline(real_models[name]) for name in ("resnet20_cifar10", "nin_cifar10", "mobilenetb_wd4", "gpt2")]
    for a, b in itertools.permutations(models, 2):
        ratio = optimal.linear_ns(a, b, PLAUSIBLE) / optimal.cost_ns(a, b, PLAUSIBLE)
        print(f"{a} → {b}: linear/optimal {ratio:.4f}")
        assert ROUNDING <= ratio <= 1.10
