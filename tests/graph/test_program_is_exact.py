"""Invariant: a program gives, bit for bit, what its graph gives node by node, and writes to nothing it was given."""

from __future__ import annotations

import itertools
import types
import weakref
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from instar.executor.live import namespace, operator
from instar.graph import inplace, ir, program, spec
from tests.graph.strategies import COLUMNS, ROWS, graphs


def interpret(graph: ir.Graph, inputs: list[torch.Tensor], weights: list[torch.Tensor]) -> list[torch.Tensor]:
    """Run node by node, nothing in place, nothing freed: the meaning of a graph."""
    values: list[Any] = list(inputs)

    def of(argument: ir.Arg) -> Any:
        match argument:
            case ir.Value(id_):
                return values[id_]
            case ir.Weight(index):
                return weights[index]
            case tuple():
                return [of(item) for item in argument]
        return argument

    for node in graph.nodes:
        args = [of(a) for a in node.args]
        if node.op == "py.getitem":
            values.append(args[0][args[1]])
        elif node.op == "py.mul":
            values.append(args[0] * args[1])
        else:
            values.append(operator(node.op)(*args))
    return [of(o) for o in graph.outputs]


def tensors(count: int, seed: int) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(ROWS, COLUMNS, generator=generator) for _ in range(count)]


def run(compiled: program.Program, inputs: list[torch.Tensor], weights: list[torch.Tensor], **names: Any) -> Any:
    found = namespace(compiled) | {"weights": weights} | names
    return types.FunctionType(compiled.gated()[0] if names else compiled.free, found)(*inputs)


@settings(deadline=None)
@given(graphs(), st.integers(0, 1000))
def test_a_program_gives_what_its_graph_gives(graph: ir.Graph, seed: int) -> None:
    spec.check(graph)
    inputs, weights = tensors(len(graph.inputs), seed), tensors(len(graph.weights), seed + 1)
    before = [t.clone() for t in (*inputs, *weights)]
    expected = interpret(graph, inputs, weights)
    found = run(program.compile_graph(graph), inputs, weights)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(before, (*inputs, *weights), strict=True))


@settings(deadline=None)
@given(graphs(), st.lists(st.integers(0, 3), min_size=3, max_size=3))
def test_the_gated_variant_asks_each_gate_once_in_order_and_gives_the_same(
    graph: ir.Graph, chunks: list[int]
) -> None:
    stages = program.cut(graph, sorted(chunks)[: len(graph.weights)])
    compiled = program.compile_graph(graph, stages)
    inputs, weights = tensors(len(graph.inputs), 1), tensors(len(graph.weights), 2)
    bound: set[int] = set()
    asked = []

    def gate(number: int) -> None:
        asked.append(number)
        bound.update(stages[number].weights)

    found = run(compiled, inputs, weights, gate=gate)
    expected = run(compiled, inputs, weights)
    assert all(torch.equal(a, b) for a, b in zip(expected, found, strict=True))
    used = {r.index for n in graph.nodes for r in ir.node_references(n) if isinstance(r, ir.Weight)}
    assert used <= bound
    assert asked == list(range(len(stages)))


@settings(deadline=None)
@given(graphs())
def test_stages_cover_the_graph_and_name_each_weight_once(graph: ir.Graph) -> None:
    stages = program.cut(graph, range(len(graph.weights)))
    assert stages[0].first == 0 and stages[-1].last == len(graph.nodes)
    assert all(a.last == b.first for a, b in itertools.pairwise(stages))
    named = [w for stage in stages for w in stage.weights]
    assert len(named) == len(set(named))


def test_a_chain_of_activations_writes_over_one_buffer() -> None:
    full = ir.TensorType("float32", (ROWS, COLUMNS))
    nodes = [ir.Node("aten.add.Tensor", (ir.Value(0), ir.Value(0)), (), full)]
    nodes += [ir.Node("aten.relu.default", (ir.Value(i),), (), full) for i in (1, 2)]
    graph = ir.Graph((full,), (), tuple(nodes), (ir.Value(3),))
    # The first node's operand is an input, which is not ours to write to.
    assert inplace.find(graph) == {1: "aten.relu_.default", 2: "aten.relu_.default"}


def test_values_are_freed_after_their_last_use() -> None:
    full = ir.TensorType("float32", (ROWS, COLUMNS))
    nodes = [ir.Node("aten.relu.default", (ir.Value(i),), (), full) for i in range(3)]
    chain = ir.Graph((full,), (), tuple(nodes), (ir.Value(3),))
    found = weakref.WeakSet[torch.Tensor]()
    most = 0

    def relu(tensor: torch.Tensor) -> torch.Tensor:
        nonlocal most
        result = tensor.clone()
        found.add(result)
        most = max(most, len(found))
        return result

    compiled = program.compile_graph(chain)
    names = namespace(compiled) | {"aten_relu_default": relu, "aten_relu__default": relu, "weights": []}
    types.FunctionType(compiled.free, names)(torch.zeros(2))
    assert most == 2  # the operand and the result of the same call, never one more
