"""A plan that does not fit raises one clear error, whatever is wrong with it, and says at which step."""

from __future__ import annotations

import dataclasses
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar.errors import PlanError
from instar.graph import ir
from instar.package import Package
from instar.plan import plans, skeleton
from instar.plan.metaops import Add, Edge, Reduce, Replace, Reshape, Step
from instar.plan.outline import outline
from instar.plan.plans import Plan
from instar.plan.replay import arrives, replay
from tests.plan.strategies import package_of, pairs
from tests.plan.test_replay_arrives import planned

FULL = ir.TensorType("float32", (4, 6))


def chain(*names: str) -> Package:
    """Operators of one operand, each on what the one before gave."""
    nodes = [ir.Node(f"aten.{name}.default", (ir.Value(i),), (), FULL) for i, name in enumerate(names)]
    return package_of(ir.Graph((FULL,), (), tuple(nodes), (ir.Value(len(nodes)),)), lambda _: 0)


SOURCE, TARGET = chain("relu", "tanh", "relu"), chain("relu", "sigmoid")
FORM = '["aten.sigmoid.default",["%"],{},"float32[4,6]"]'


def test_the_plan_that_is_damaged_below_is_this_one() -> None:
    plan = planned(SOURCE, TARGET)
    assert plan.steps == (
        Replace("aten.relu.default", 0, 0, 0, 0),
        Add("aten.sigmoid.default", 1, FORM, 0, 0),
        Reduce("aten.tanh.default", 1),
        Reduce("aten.relu.default", 2),
        Edge(2, outline(TARGET).skeleton.wiring),
    )
    assert replay(plan, SOURCE.graph) == TARGET.graph


@pytest.mark.parametrize(
    ("number", "step", "message"),
    [
        (0, Replace("aten.relu.default", 1, 0, 0, 0), r"step 0 \(replace\).*not 'aten.relu.default' but"),
        (0, Replace("aten.relu.default", 3, 0, 0, 0), r"step 0 .*operator 3 is not there: the source has 3"),
        (0, Replace("aten.relu.default", 0, 2, 0, 0), r"after step 4, .*the target's operator 0 is missing"),
        (0, Reshape("aten.tanh.default", 0, 0, FORM, 0, 0), r"step 0 \(reshape\).*not 'aten.tanh.default'"),
        (0, Replace("", 0, 0, 0, 0), r"step 0 .*not ''"),
        (1, Add("aten.sigmoid.default", 0, FORM, 0, 0), r"step 1 \(add\).*operator 0 was filled before"),
        (2, Reduce("aten.relu.default", 0), r"step 2 \(reduce\).*operator 0 was taken before"),
        (3, Edge(2, outline(TARGET).skeleton.wiring), r"step 4 \(edge\).*given before"),
        (3, Add("aten.sigmoid.default", 2, FORM, 0, 0), r"after step 4, .*operator 2 was neither used nor removed"),
        (4, Edge(3, outline(TARGET).skeleton.wiring), r"after step 4, .*for 3 operators, but there are 2"),
        (4, Edge(2, outline(SOURCE).skeleton.wiring), r"after all 5 steps the graph is"),
    ],
)
def test_a_step_that_does_not_fit_is_named(number: int, step: Step, message: str) -> None:
    plan = planned(SOURCE, TARGET)
    steps = (*plan.steps[:number], step, *plan.steps[number + 1 :])
    with pytest.raises(PlanError, match=message):
        replay(dataclasses.replace(plan, steps=steps), SOURCE.graph)


def test_a_plan_for_another_source_is_refused_before_its_first_step() -> None:
    with pytest.raises(PlanError, match=r"starts from the graph .* before step 0"):
        replay(planned(SOURCE, TARGET), TARGET.graph)
    assert not arrives(planned(SOURCE, TARGET), outline(TARGET), outline(SOURCE))


def test_a_forged_plan_for_a_graph_that_breaks_the_grammar_is_refused() -> None:
    """Its digests are right: it arrives where it says, and nobody may go there."""
    plan = planned(SOURCE, TARGET)
    form = FORM.replace("sigmoid", "made_up")
    steps = (plan.steps[0], Add("aten.made_up.default", 1, form, 0, 0), *plan.steps[2:])
    there = skeleton.Skeleton((outline(TARGET).skeleton.forms[0], form), outline(TARGET).skeleton.wiring)
    forged = dataclasses.replace(plan, steps=steps, target_graph=skeleton.digest(there))
    with pytest.raises(PlanError, match=r"no valid graph: .*made_up"):
        replay(forged, SOURCE.graph)


def test_a_plan_that_grows_without_bound_is_refused() -> None:
    plan = planned(SOURCE, TARGET)
    form = FORM.replace("{}", '{"name":"=' + "x" * 2**20 + '"}')
    steps = tuple(Add("aten.sigmoid.default", i, form, 0, 0) for i in range(100))
    with pytest.raises(PlanError, match=r"step 63 \(add\).*grows beyond 67108864 bytes"):
        replay(dataclasses.replace(plan, steps=steps), SOURCE.graph)


@settings(deadline=None)
@given(pairs(), st.integers(0, 2**32))
def test_a_damaged_plan_is_refused_or_arrives_where_it_says(pair: tuple[Package, Package], seed: int) -> None:
    """Invariant: with some characters changed, there is a PlanError or the graph that the plan names."""
    rng = random.Random(seed)
    data = bytearray(plans.encode(planned(*pair)))
    for _ in range(rng.randint(1, 3)):
        data[rng.randrange(len(data))] = rng.choice(b'0123456789"[]{},%$=~+->a')
    try:
        plan: Plan = plans.decode(bytes(data))
        graph = replay(plan, pair[0].graph)
    except PlanError:
        return
    assert skeleton.digest(skeleton.disassemble(graph)) == plan.target_graph
