"""Random graphs that keep the grammar and can be run: float32 tensors of two dimensions, and numbers.

They are made of what breaks compilers: views that share memory, operators that could be written in place, lists of
tensors, values that nobody uses, values that are handed back twice, weights that are used late or never.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from instar.graph import ir

ROWS, COLUMNS = 4, 6
FULL = ir.TensorType("float32", (ROWS, COLUMNS))
HALF = ir.TensorType("float32", (ROWS, COLUMNS // 2))
TURNED = ir.TensorType("float32", (COLUMNS, ROWS))
UNARY = ["relu", "sigmoid", "tanh", "hardtanh", "silu", "gelu"]
BINARY = ["add", "sub", "mul"]


class _Builder:
    def __init__(self, inputs: int, weights: int) -> None:
        self.graph_inputs, self.graph_weights = (FULL,) * inputs, (FULL,) * weights
        self.nodes: list[ir.Node] = []
        self.of_type: dict[ir.ValueType, list[ir.Value | ir.Weight]] = {
            FULL: [*map(ir.Value, range(inputs)), *map(ir.Weight, range(weights))]
        }

    def add(self, op: str, *args: ir.Arg, type: ir.ValueType, **kwargs: ir.Arg) -> ir.Value:
        self.nodes.append(ir.Node(op, args, tuple(kwargs.items()), type))
        value = ir.Value(len(self.graph_inputs) + len(self.nodes) - 1)
        self.of_type.setdefault(type, []).append(value)
        return value


@st.composite
def graphs(draw: Any) -> ir.Graph:
    """A graph of up to 25 steps that runs on inputs of shape [4, 6]."""
    builder = _Builder(draw(st.integers(1, 3)), draw(st.integers(0, 3)))

    def some(type_: ir.ValueType) -> Any:
        return draw(st.sampled_from(builder.of_type[type_]))

    for _ in range(draw(st.integers(1, 25))):
        step = draw(st.sampled_from(["unary", "binary", "view", "turn", "split", "number", "scale", "same"]))
        tensor_type = draw(st.sampled_from([t for t in builder.of_type if isinstance(t, ir.TensorType)]))
        match step:
            case "unary":
                op = draw(st.sampled_from(UNARY))
                builder.add(f"aten.{op}.default", some(tensor_type), type=tensor_type)
            case "binary":
                op = draw(st.sampled_from(BINARY))
                builder.add(f"aten.{op}.Tensor", some(tensor_type), some(tensor_type), type=tensor_type)
            case "view":
                builder.add("aten.view.default", some(FULL), (ROWS, COLUMNS), type=FULL)
            case "turn":
                builder.add("aten.transpose.int", some(FULL), 0, 1, type=TURNED)
            case "split":
                whole = builder.add("aten.chunk.default", some(FULL), 2, 1, type=ir.TupleType((HALF, HALF)))
                parts = [builder.add("py.getitem", whole, i, type=HALF) for i in (0, 1)]
                builder.add("aten.cat.default", (parts[1], parts[0]), 1, type=FULL)
                if draw(st.booleans()):
                    builder.add("aten.cat.default", whole, 1, type=FULL)
            case "number":
                size = builder.add("aten.sym_size.int", some(FULL), 1, type=ir.ScalarType("int"))
                number = builder.add("py.mul", size, draw(st.integers(-2, 2)), type=ir.ScalarType("int"))
                builder.add("aten.mul.Scalar", some(FULL), number, type=FULL)
            case "scale":
                factor = draw(st.sampled_from([-0.5, -0.0, 2.0, 1e-30]))
                builder.add("aten.mul.Tensor", some(tensor_type), factor, type=tensor_type)
            case "same":
                builder.add("aten.contiguous.default", some(tensor_type), type=tensor_type)
    candidates = [r for t, found in builder.of_type.items() if isinstance(t, ir.TensorType) for r in found]
    outputs = draw(st.lists(st.sampled_from(candidates), min_size=1, max_size=4))
    return ir.Graph(builder.graph_inputs, builder.graph_weights, tuple(builder.nodes), tuple(outputs))
