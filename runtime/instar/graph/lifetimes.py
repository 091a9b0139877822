"""How long each value of a graph is needed, and which values may share memory. Pure facts about a graph."""

from __future__ import annotations

from instar.graph import ir

# Operators whose result never shares memory with an operand. What is not named here is taken to share with all
# of its operands: torch's schemas do not tell (dropout, einsum, contiguous hand back their operand at times).
FRESH = frozenset(
    f"aten.{name}"
    for name in [
        "conv1d.default",
        "conv2d.default",
        "conv3d.default",
        "conv_transpose1d.default",
        "conv_transpose2d.input",
        "conv_transpose3d.input",
        "convolution.default",
        "conv1d.padding",
        "conv2d.padding",
        "conv3d.padding",
        "batch_norm.default",
        "layer_norm.default",
        "group_norm.default",
        "native_layer_norm.default",
        "rms_norm.default",
        "linear.default",
        "addmm.default",
        "mm.default",
        "bmm.default",
        "baddbmm.default",
        "add.Tensor",
        "add.Scalar",
        "sub.Tensor",
        "sub.Scalar",
        "mul.Tensor",
        "mul.Scalar",
        "div.Tensor",
        "div.Scalar",
        "relu.default",
        "relu6.default",
        "hardtanh.default",
        "hardswish.default",
        "hardsigmoid.default",
        "sigmoid.default",
        "silu.default",
        "mish.default",
        "elu.default",
        "leaky_relu.default",
        "gelu.default",
        "tanh.default",
        "clamp.default",
        "clamp_min.default",
        "prelu.default",
        "softmax.int",
        "exp.default",
        "sqrt.default",
        "rsqrt.default",
        "pow.Tensor_Scalar",
        "max_pool2d.default",
        "avg_pool2d.default",
        "adaptive_avg_pool2d.default",
        "adaptive_max_pool2d.default",
        "mean.dim",
        "sum.dim_IntList",
        "cat.default",
        "stack.default",
        "embedding.default",
        "upsample_bilinear2d.vec",
        "upsample_nearest2d.vec",
    ]
)


def last_uses(graph: ir.Graph) -> dict[int, int]:
    """Each node's value -> the node that uses it last: itself if nobody does, `len(nodes)` if it is handed back.

    Inputs are left out, since the caller holds them anyway.
    """
    inputs = len(graph.inputs)
    last = {inputs + position: position for position in range(len(graph.nodes))}
    for position, node in enumerate(graph.nodes):
        for reference in ir.node_references(node):
            if isinstance(reference, ir.Value) and reference.id >= inputs:
                last[reference.id] = position
    for output in graph.outputs:
        if isinstance(output, ir.Value) and output.id >= inputs:
            last[output.id] = len(graph.nodes)
    return last


def aliases(graph: ir.Graph) -> dict[int, int]:
    """Each value -> the number of its group: values in different groups never share memory.

    Group -1 holds whatever may share memory with an input or with a weight.
    """
    parent: dict[int, int] = {-1: -1}

    def root(value: int) -> int:
        while parent[value] != value:
            parent[value] = parent[parent[value]]
            value = parent[value]
        return value

    for value in range(len(graph.inputs)):
        parent[value] = -1
    for position, node in enumerate(graph.nodes):
        value = len(graph.inputs) + position
        parent[value] = value
        if node.op in FRESH or isinstance(node.type, ir.ScalarType):
            continue
        for reference in ir.node_references(node):
            other = -1 if isinstance(reference, ir.Weight) else root(reference.id)
            mine = root(value)
            # The smaller root wins, so that -1, whatever is not ours, always does.
            parent[max(mine, other)] = min(mine, other)
    return {value: root(value) for value in parent if value >= 0}
