"""Invariant: a graph that is taken apart and put together is the same graph, and only equal graphs look equal."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings

from instar.errors import GraphError
from instar.graph import ir
from instar.plan import skeleton
from tests.graph.strategies import graphs


@settings(deadline=None)
@given(graphs())
def test_a_graph_survives_being_taken_apart(graph: ir.Graph) -> None:
    assert skeleton.assemble(skeleton.disassemble(graph)) == graph


@settings(deadline=None)
@given(graphs(), graphs())
def test_digests_are_equal_if_and_only_if_graphs_are(one: ir.Graph, two: ir.Graph) -> None:
    digests = [skeleton.digest(skeleton.disassemble(g)) for g in (one, two)]
    assert (digests[0] == digests[1]) == (one == two)


def test_keywords_numbers_and_texts_survive() -> None:
    full = ir.TensorType("float32", ("batch", 4))
    kwargs = (("z", ir.Dtype("float32")), ("a", ir.Weight(1)), ("text", "%3"), ("x", float("-inf")), ("y", -0.0))
    node = ir.Node("aten.relu.default", (ir.Value(0), None, (ir.Weight(1), 3), "$0", ir.Device()), kwargs, full)
    spare = ir.TensorType("int64", ())
    graph = ir.Graph((full,), (spare, full, spare), (node,), (ir.Value(1), ir.Weight(2)), ("batch",))
    found = skeleton.assemble(skeleton.disassemble(graph))
    assert found == graph and str(found.nodes) == str(graph.nodes)  # -0.0 == 0.0


def wired(**changes: object) -> skeleton.Skeleton:
    """One operator that adds a weight to the input, with something wrong in its wiring."""
    wiring = skeleton.Wiring(("float32[2]",), (), (0, 0), ("%1",), ())
    form = '["aten.add.Tensor",["%","$float32[2]"],{},"float32[2]"]'
    forms = changes.pop("forms", (form,))
    return skeleton.Skeleton(forms, dataclasses.replace(wiring, **changes))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("broken", "message"),
    [
        (wired(references=(0,)), "no reference left"),
        (wired(references=(0, 0, 0)), "more than the 2 references"),
        (wired(references=(0, 7)), "names weight 7"),
        (wired(spare=((0, "int64[3]"),)), "weight 0 is int64"),
        (wired(inputs=("float32[2",)), "where a tensor type belongs"),
        (wired(outputs=("1",)), "where a reference"),
        (wired(forms=('["op",["%3"],{},"int"]',)), "where '%' belongs"),
        (wired(forms=('["op",[[["%"]]],{},"int"]',)), "list in a list"),
    ],
)
def test_what_does_not_fit_together_is_refused(broken: skeleton.Skeleton, message: str) -> None:
    with pytest.raises(GraphError, match=message):
        skeleton.assemble(broken)
