"""Invariant: a graph with anything broken in it is refused, and says where."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar.errors import GraphError
from instar.graph import codec, ir, operators, spec
from tests.graph.strategies import FULL, HALF, graphs

RELU = ir.Node("aten.relu.default", (ir.Value(0),), (), FULL)


def graph(*nodes: ir.Node, outputs: tuple[ir.Value | ir.Weight, ...] = (ir.Value(0),)) -> ir.Graph:
    return ir.Graph((FULL,), (FULL,), nodes, outputs)


def test_a_plain_graph_is_accepted() -> None:
    spec.check(graph(RELU, outputs=(ir.Value(1),)))


REFUSED = {
    "an operator outside the list": (replace(RELU, op="aten.from_file.default"), "not on the list"),
    "an operator that writes": (replace(RELU, op="aten.relu_.default"), "not on the list"),
    "a random operator": (replace(RELU, op="aten.rand_like.default"), "not on the list"),
    "uninitialised memory": (replace(RELU, op="aten.empty_like.default"), "not on the list"),
    "an attribute of Python": (replace(RELU, op="py.__import__"), "not on the list"),
    "a cycle": (replace(RELU, args=(ir.Value(1),)), "not defined before it"),
    "a reference forwards": (replace(RELU, args=(ir.Value(7),)), "not defined before it"),
    "a negative reference": (replace(RELU, args=(ir.Value(-1),)), "not defined before it"),
    "a weight that is not there": (replace(RELU, args=(ir.Weight(1),)), "has 1 weights"),
    "an argument too many": (replace(RELU, args=(ir.Value(0), ir.Value(0))), "positional arguments"),
    "an argument missing": (replace(RELU, args=()), "lacks its argument 'self'"),
    "a text for a tensor": (replace(RELU, args=("x",)), "wants a Tensor"),
    "a keyword that is unknown": (replace(RELU, kwargs=(("out", ir.Value(0)),)), "no free parameter"),
    "an argument given twice": (replace(RELU, kwargs=(("self", ir.Value(0)),)), "no free parameter"),
    "a tensor for a size": (
        ir.Node("aten.view.default", (ir.Value(0), (ir.Value(0), 6)), (), FULL), "wants a int"),
    "a size beyond 64 bits": (ir.Node("aten.view.default", (ir.Value(0), (2**63,)), (), FULL), "wants a int"),
    "a list in place of a number": (ir.Node("aten.transpose.int", (ir.Value(0), (0,), 1), (), FULL), "wants a int"),
    "an unknown dtype": (
        ir.Node("aten.to.dtype", (ir.Value(0), ir.Dtype("object")), (), FULL), "wants a dtype"),
    "a storage layout": (
        ir.Node("aten.ones_like.default", (ir.Value(0),), (("layout", "sparse"),), FULL), "wants a layout"),
    "batch norm that trains": (
        ir.Node("aten.batch_norm.default", (ir.Value(0), None, None, None, None, True, 0.1, 1e-5, False), (), FULL),
        "training must be False"),
    "attention that drops out": (
        ir.Node("aten.scaled_dot_product_attention.default", (ir.Value(0),) * 3 + (None, 0.5), (), FULL),
        "dropout_p must be 0"),
    "an index outside the tuple": (ir.Node("py.getitem", (ir.Value(0), 0), (), FULL), "not a tuple"),
    "a wrong kind of result": (replace(RELU, type=ir.ScalarType("int")), "not what the operator gives"),
    "an unknown dtype as the result": (replace(RELU, type=ir.TensorType("float33", (1,))), "unknown dtype"),
    "a dimension that is code": (replace(RELU, type=ir.TensorType("float32", ("__import__('os')",))), "no size"),
    "a negative dimension": (replace(RELU, type=ir.TensorType("float32", (-1,))), "whole numbers"),
    "arithmetic on tensors": (ir.Node("py.mul", (ir.Value(0), 2), (), ir.ScalarType("int")), "wants a number"),
    "a huge power": (ir.Node("py.pow", (9, 9**9), (), ir.ScalarType("int")), "exponent"),
}  # fmt: skip


@pytest.mark.parametrize(("node", "reason"), REFUSED.values(), ids=REFUSED.keys())
def test_a_broken_node_is_refused_by_name(node: ir.Node, reason: str) -> None:
    with pytest.raises(GraphError, match="node 0") as caught:
        spec.check(graph(node))
    assert reason in str(caught.value)


def test_an_output_must_exist_and_be_a_tensor() -> None:
    size = ir.Node("aten.sym_size.int", (ir.Value(0), 0), (), ir.ScalarType("int"))
    for outputs in ((), (ir.Value(5),), (ir.Weight(5),), (ir.Value(1),)):
        with pytest.raises(GraphError):
            spec.check(graph(size, outputs=outputs))


@settings(deadline=None)
@given(graphs(), st.data())
def test_no_corruption_of_one_argument_gets_past_the_grammar_unseen(whole: ir.Graph, data: st.DataObject) -> None:
    """Replace one argument by a reference forwards: there is no place where that may stand."""
    place = data.draw(st.integers(0, len(whole.nodes) - 1))
    node = whole.nodes[place]
    position = data.draw(st.integers(0, len(node.args) - 1))
    later = ir.Value(len(whole.inputs) + data.draw(st.integers(place, len(whole.nodes) + 3)))
    args = (*node.args[:position], later, *node.args[position + 1 :])
    broken = replace(whole, nodes=(*whole.nodes[:place], replace(node, args=args), *whole.nodes[place + 1 :]))
    with pytest.raises(GraphError):
        spec.check(broken)


@settings(deadline=None)
@given(graphs(), st.data())
def test_a_document_with_one_value_replaced_is_refused_or_means_a_graph(whole: ir.Graph, data: st.DataObject) -> None:
    """Whatever stands in a node, decode and check end in a graph or in GraphError, never in another error."""
    document = codec.encode(whole)
    node = data.draw(st.sampled_from(document["nodes"]))
    junk = st.one_of(
        st.none(), st.integers(), st.text(max_size=4), st.lists(st.integers(), max_size=2), st.booleans(),
        st.sampled_from(["%0", "$0", "!", ":int64", "~inf", "(", "float32[", HALF, {}, [[1]]]),
    )  # fmt: skip
    node[data.draw(st.integers(0, 3))] = data.draw(junk)
    try:
        spec.check(codec.decode(document))
    except GraphError as error:
        assert str(error)


def test_every_operator_of_python_takes_as_many_numbers_as_it_says() -> None:
    for name, count in operators.PYTHON.items():
        if name != "py.pow":
            node = ir.Node(name, (1,) * count, (), ir.ScalarType("int"))
            spec.check(graph(node))
            with pytest.raises(GraphError):
                spec.check(graph(replace(node, args=(1,) * (count + 1))))
