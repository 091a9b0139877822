"""Where an operator may write over its first operand without anybody being able to tell.

A graph is functional. An activation function that writes its result into fresh memory costs as much again in page
faults and cache misses, which is why modules are written with `inplace=True`. Here the same is found by looking:
the operand must be ours (no input, no weight), nothing that may share its memory may be needed afterwards or be
another operand, and the result must have the operand's type. The kernels are the same, so the bits are.
"""

from __future__ import annotations

from instar.graph import ir
from instar.graph.lifetimes import aliases, last_uses

_VARIANTS = {
    f"aten.{name}": f"aten.{name.replace('.', '_.')}"
    for name in [
        "relu.default",
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
        "relu6.default",
        "add.Tensor",
        "sub.Tensor",
        "mul.Tensor",
        "div.Tensor",
        "exp.default",
    ]
}


def find(graph: ir.Graph) -> dict[int, str]:
    """The nodes that may write over their first operand -> the operator that does."""
    first_group, last = aliases(graph), last_uses(graph)
    merged: dict[int, int] = {}  # a group -> the group whose memory it turned out to use

    def group_of(value: int) -> int:
        group = first_group[value]
        while group in merged:
            group = merged[group]
        return group

    needed_until: dict[int, int] = {}
    for value, group in first_group.items():
        if value in last:
            needed_until[group] = max(needed_until.get(group, -1), last[value])
    found: dict[int, str] = {}
    for position, node in enumerate(graph.nodes):
        operand = node.args[0] if node.op in _VARIANTS and node.args else None
        if not isinstance(operand, ir.Value) or graph.type_of(operand) != node.type or "?" in str(node.type):
            continue
        group = group_of(operand.id)
        others = [r for r in ir.node_references(node) if isinstance(r, ir.Value)][1:]
        if group == -1 or needed_until[group] > position or any(group_of(o.id) == group for o in others):
            continue
        found[position] = _VARIANTS[node.op]
        result = group_of(len(graph.inputs) + position)
        # The result lives where the operand did. The operand's group is never asked for again under its old
        # number, so pointing it at the result's keeps every chain short.
        merged[group] = result
        needed_until[result] = max(needed_until[result], needed_until[group])
    return found
