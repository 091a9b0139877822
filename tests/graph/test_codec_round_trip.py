"""Invariant: decoding what was encoded gives the same graph, by way of JSON text."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings

from instar.errors import GraphError
from instar.graph import codec, ir, spec
from tests.graph.strategies import graphs


@settings(deadline=None)
@given(graphs())
def test_a_graph_survives_being_written_and_read(graph: ir.Graph) -> None:
    spec.check(graph)
    assert codec.decode(json.loads(json.dumps(codec.encode(graph)))) == graph


@pytest.mark.parametrize(
    "argument",
    [None, True, -3, 2.5, -0.0, math.inf, -math.inf, "text", "=odd", "%3", "", (), (1, None, 2.0),
     ir.Value(7), ir.Weight(0), ir.Dtype("float32"), ir.MemoryFormat("channels_last"), ir.Device()],
)  # fmt: skip
def test_every_kind_of_argument_survives(argument: ir.Arg) -> None:
    node = ir.Node("aten.relu.default", (argument,), (("key", argument),), ir.ScalarType("int"))
    graph = ir.Graph((), (), (node,), (ir.Weight(0),))
    found = codec.decode(json.loads(json.dumps(codec.encode(graph)))).nodes[0].args[0]
    assert found == argument and type(found) is type(argument)
    if isinstance(argument, float):
        assert math.copysign(1, argument) == math.copysign(1, found)  # type: ignore[arg-type]


def test_not_a_number_survives() -> None:
    node = ir.Node("aten.relu.default", (math.nan,), (), ir.ScalarType("int"))
    encoded = json.dumps(codec.encode(ir.Graph((), (), (node,), ())), allow_nan=False)
    found = codec.decode(json.loads(encoded)).nodes[0].args[0]
    assert isinstance(found, float) and math.isnan(found)


@pytest.mark.parametrize("type_", ["((int))", "(" * 100_000, 3, None, "float32[2][3]"])
def test_an_odd_type_is_refused_or_left_to_the_grammar(type_: object) -> None:
    try:
        decoded = codec.decode_type(type_, "here")
    except GraphError:
        return
    with pytest.raises(GraphError):
        spec.check(ir.Graph((), (), (ir.Node("py.neg", (1,), (), decoded),), ()))


def test_another_version_is_refused_with_the_way_out() -> None:
    document = codec.encode(ir.Graph((), (), (), ())) | {"version": 99}
    with pytest.raises(GraphError, match="pack the model again"):
        codec.decode(document)
