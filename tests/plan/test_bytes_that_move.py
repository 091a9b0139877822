"""A step says which of its operator's weights are somewhere else or something else, and what stays costs nothing."""

from __future__ import annotations

from instar.graph import ir
from instar.package import Package
from instar.plan import planner
from instar.plan.metaops import Add, Edge, Replace, Reshape
from instar.plan.outline import outline
from tests.plan.strategies import PLAUSIBLE, package_of

FULL = ir.TensorType("float32", (4, 6))
NBYTES, ALIGNED = 96, 128


def sums(*contents: int) -> Package:
    """One addition of a weight after the other; the numbers are what the weights hold."""
    nodes = [ir.Node("aten.add.Tensor", (ir.Value(i), ir.Weight(i)), (), FULL) for i in range(len(contents))]
    graph = ir.Graph((FULL,), (FULL,) * len(contents), tuple(nodes), (ir.Value(len(nodes)),))
    return package_of(graph, contents.__getitem__)


def steps(source: Package, target: Package) -> list[object]:
    return list(planner.steps(outline(source), outline(target), PLAUSIBLE))


def test_equal_weights_find_each_other_wherever_they_stand() -> None:
    assert steps(sums(1, 2, 3), sums(3, 9, 1)) == [
        Replace("aten.add.Tensor", 2, 0, 1, 0),
        Replace("aten.add.Tensor", 1, 1, 0, NBYTES),
        Replace("aten.add.Tensor", 0, 2, 1, 0),
    ]


def test_a_weight_in_its_place_with_other_content_moves_its_bytes_and_keeps_its_view() -> None:
    assert steps(sums(1), sums(2)) == [Replace("aten.add.Tensor", 0, 0, 0, NBYTES)]


def test_a_weight_that_the_match_does_not_have_is_all_new() -> None:
    target = outline(sums(1))
    doubled = ir.Node("aten.add.Tensor", (ir.Value(0), ir.Value(0)), (), FULL)
    source = package_of(ir.Graph((FULL,), (), (doubled,), (ir.Value(1),)), lambda _: 0)
    form = target.skeleton.forms[0]
    assert list(planner.steps(outline(source), target, PLAUSIBLE)) == [
        Reshape("aten.add.Tensor", 0, 0, form, 1, NBYTES),
        Edge(1, target.skeleton.wiring),
    ]


def test_an_added_operator_brings_all_its_weights() -> None:
    source, target = outline(sums(1)), outline(sums(1, 2))
    form = target.skeleton.forms[1]
    assert planner.steps(source, target, PLAUSIBLE)[:2] == (
        Replace("aten.add.Tensor", 0, 0, 0, 0),
        Add("aten.add.Tensor", 1, form, 1, NBYTES),
    )


def test_an_outline_tells_where_each_weight_lies() -> None:
    found = outline(sums(7, 8)).holdings
    assert [(h.weight, h.nbytes, int(h.digest, 16), h.layout) for held in found for h in held] == [
        (0, NBYTES, 7, ("float32", (4, 6), (6, 1), 64)),
        (1, NBYTES, 8, ("float32", (4, 6), (6, 1), 64 + ALIGNED)),
    ]
