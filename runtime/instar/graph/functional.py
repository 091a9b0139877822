"""Operators that write in place become operators that do not.

`y = relu_(x)` becomes `y = relu(x)`, and whoever asked for `x` afterwards gets `y`. That is right as long as no other
name for the same memory is used after the write; where one is, `Overlap` says so and torch's own functionalisation
has to be asked. Writes to inputs and to parameters or buffers are refused: a served model keeps no state.
"""

from __future__ import annotations

import torch

from instar.errors import PackError


class Overlap(Exception):
    """Memory is written under one name and read under another; this file cannot help."""


_IDENTITIES = frozenset(
    f"aten.{name}.default" for name in ["alias", "detach", "detach_", "lift_fresh", "lift_fresh_copy"]
)
_DROPOUTS = frozenset(
    f"aten.{name}.default"
    for name in [
        "dropout",
        "dropout_",
        "feature_dropout",
        "feature_dropout_",
        "alpha_dropout",
        "feature_alpha_dropout",
    ]
)


def identity_operand(node: torch.fx.Node) -> torch.fx.Node | None:
    """The operand that this node hands on unchanged, if that is all it does."""
    name = str(node.target)
    if name in _IDENTITIES:
        return node.all_input_nodes[0]
    if name in _DROPOUTS and node.args[2] is False:
        return node.all_input_nodes[0]
    if name == "aten.to.dtype_layout" and node.kwargs.get("dtype") is None:
        return node.all_input_nodes[0]
    return None


def functionalise(module: torch.fx.GraphModule) -> torch.fx.GraphModule:
    """A copy of `module` without operators that write. Raises `Overlap` or `PackError`."""
    copy = torch.fx.GraphModule(module, torch.fx.Graph())
    copied: dict[torch.fx.Node, torch.fx.Node] = {}
    fresh = torch.fx.Graph()
    for node in module.graph.nodes:
        copied[node] = fresh.node_copy(node, lambda n: copied[n])
    copy.graph = fresh
    nodes = list(fresh.nodes)
    order = {node: number for number, node in enumerate(nodes)}
    for node in nodes:
        target = node.target
        if not isinstance(target, torch._ops.OpOverload) or not target._schema.is_mutable:
            continue
        if identity_operand(node) is not None:
            continue
        written = node.args[0] if node.args else None
        if not isinstance(written, torch.fx.Node) or not target._opname.endswith("_"):
            raise Overlap(str(target))
        names = _same_memory(written)
        if any(other.op in ("placeholder", "get_attr") for other in names):
            raise PackError(
                f"the forward pass writes in place to {written.name!r} with {target}, which is an input, a parameter "
                "or a buffer; a served model keeps no state: write to a copy (x = x.clone()) or return the new value"
            )
        if any(order[user] > order[node] for other in names - {written} for user in other.users if user is not node):
            raise Overlap(str(target))
        node.target = _functional(target)
        later = [user for user in written.users if order[user] > order[node]]
        for user in later:
            user.replace_input_with(written, node)
    return copy


def _functional(target: torch._ops.OpOverload) -> torch._ops.OpOverload:
    packet = getattr(torch.ops.aten, target._opname.removesuffix("_"), None)
    overload = getattr(packet, target._overloadname, None) if packet is not None else None
    if overload is None or overload._schema.is_mutable:
        raise Overlap(str(target))
    return overload  # type: ignore[no-any-return]


def _same_memory(node: torch.fx.Node) -> set[torch.fx.Node]:
    """Every node that may be another name for this node's memory, itself included."""
    found, waiting = {node}, [node]
    while waiting:
        current = waiting.pop()
        near = [other for other in current.all_input_nodes if _may_share(current)]
        near += [user for user in current.users if _may_share(user)]
        for other in near:
            if other not in found:
                found.add(other)
                waiting.append(other)
    return found


def _may_share(node: torch.fx.Node) -> bool:
    """Whether a node's result may be memory of one of its operands."""
    target = node.target
    if node.op != "call_function":
        return False
    if not isinstance(target, torch._ops.OpOverload):
        return True  # getitem
    schema = target._schema
    if any(r.alias_info is not None for r in schema.returns):
        return True
    return identity_operand(node) is not None or target._opname in ("einsum", "dropout", "contiguous", "reshape")
