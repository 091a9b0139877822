"""A graph as text and back.

References are short strings: `%3` a value, `$3` a weight, `:float32` a dtype, `@channels_last` a memory format,
`!` the device, `=text` a text, `~inf` a float that JSON has no word for. A node is the list
`[op, args, kwargs, type]`, a type is text such as `float32[batch,64]`, `int` or `(float32[4];int64[4])`.

`decode` accepts exactly what `encode` writes and raises `GraphError` for anything else; it does not check the
grammar of the graph, which is `spec.check`'s work. The encoding is version `VERSION`; another is refused.
"""

from __future__ import annotations

import math
import re
from typing import Any

from instar.errors import GraphError
from instar.graph import ir

VERSION = 1
_FLOATS = {"~inf": math.inf, "~-inf": -math.inf, "~nan": math.nan}
_REFERENCE = re.compile(r"(0|[1-9][0-9]{0,8})\Z")
_TENSOR = re.compile(r"([a-z][a-z0-9]*)\[([^\[\]]*)\]\Z")
_INTEGER = re.compile(r"(0|[1-9][0-9]{0,18})\Z")


def encode(graph: ir.Graph) -> dict[str, Any]:
    """The graph as JSON values."""
    return {
        "version": VERSION,
        "symbols": list(graph.symbols),
        "inputs": [encode_type(t) for t in graph.inputs],
        "weights": [encode_type(t) for t in graph.weights],
        "nodes": [
            [
                node.op,
                [_encode_arg(a) for a in node.args],
                {name: _encode_arg(a) for name, a in node.kwargs},
                encode_type(node.type),
            ]
            for node in graph.nodes
        ],
        "outputs": [_encode_arg(o) for o in graph.outputs],
    }


def decode(document: Any) -> ir.Graph:
    """The graph that JSON values describe. Raises `GraphError`, naming the place, for anything else."""
    keys = {"version", "symbols", "inputs", "weights", "nodes", "outputs"}
    if not isinstance(document, dict) or set(document) != keys:
        raise GraphError(f"a graph is an object with the keys {', '.join(sorted(keys))}")
    if document["version"] != VERSION or isinstance(document["version"], bool | float):
        raise GraphError(
            f"the graph has format version {document['version']!r}; this Instar reads version {VERSION}: "
            "pack the model again with the same release"
        )
    return ir.Graph(
        inputs=tuple(_decode_tensor_type(t, "inputs") for t in _list(document["inputs"], "inputs")),
        weights=tuple(_decode_tensor_type(t, "weights") for t in _list(document["weights"], "weights")),
        nodes=tuple(_decode_node(n, f"node {i}") for i, n in enumerate(_list(document["nodes"], "nodes"))),
        outputs=tuple(_decode_reference(o, "outputs") for o in _list(document["outputs"], "outputs")),
        symbols=tuple(_text(s, "symbols") for s in _list(document["symbols"], "symbols")),
    )


def encode_type(type_: ir.ValueType) -> str:
    """A type as text: `float32[batch,3]`, `int`, `(float32[2];int64[2])`."""
    match type_:
        case ir.TensorType(dtype, shape):
            return f"{dtype}[{','.join(str(d) for d in shape)}]"
        case ir.ScalarType(kind):
            return kind
        case ir.TupleType(items):
            return f"({';'.join(encode_type(i) for i in items)})"


def decode_type(text: Any, where: str) -> ir.ValueType:
    """The type that a text describes. Raises `GraphError`."""
    text = _text(text, where)
    if text.startswith("(") and text.endswith(")"):
        items = []
        for part in text[1:-1].split(";") if len(text) > 2 else []:
            if part.startswith("("):
                raise GraphError(f"{where} has a tuple in a tuple: {text[:200]!r}")
            item = decode_type(part, where)
            assert not isinstance(item, ir.TupleType)
            items.append(item)
        return ir.TupleType(tuple(items))
    match = _TENSOR.match(text)
    if match is None:
        return ir.ScalarType(text)
    dims = match[2].split(",") if match[2] else []
    return ir.TensorType(match[1], tuple(int(d) if _INTEGER.match(d) else d for d in dims))


def _encode_arg(argument: ir.Arg) -> Any:
    match argument:
        case ir.Value(id_):
            return f"%{id_}"
        case ir.Weight(index):
            return f"${index}"
        case ir.Dtype(name):
            return f":{name}"
        case ir.MemoryFormat(name):
            return f"@{name}"
        case ir.Device():
            return "!"
        case str():
            return f"={argument}"
        case tuple():
            return [_encode_arg(item) for item in argument]
        case float() if not math.isfinite(argument):
            return "~nan" if math.isnan(argument) else ("~inf" if argument > 0 else "~-inf")
        case _:
            return argument


def _decode_arg(value: Any, where: str) -> ir.Arg:
    if isinstance(value, list):
        if any(isinstance(item, list) for item in value):
            raise GraphError(f"{where} has a list in a list")
        return tuple(_decode_arg(item, where) for item in value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise GraphError(f"{where} has the number {value}, which JSON has no word for")
        return value
    text = _text(value, where)
    if text in _FLOATS:
        return _FLOATS[text]
    match text[:1]:
        case "%" | "$":
            return _decode_reference(text, where)
        case ":":
            return ir.Dtype(text[1:])
        case "@":
            return ir.MemoryFormat(text[1:])
        case "=":
            return text[1:]
        case "!" if text == "!":
            return ir.Device()
    raise GraphError(f"{where} has the argument {text[:200]!r}, which is of no known form")


def _decode_reference(value: Any, where: str) -> ir.Value | ir.Weight:
    text = _text(value, where)
    if text[:1] not in ("%", "$") or not _REFERENCE.match(text[1:]):
        raise GraphError(f"{where} has {text[:200]!r} where a reference like '%3' or '$3' belongs")
    number = int(text[1:])
    return ir.Value(number) if text[0] == "%" else ir.Weight(number)


def _decode_node(value: Any, where: str) -> ir.Node:
    if not isinstance(value, list) or len(value) != 4:
        raise GraphError(f"{where} is not a list of operator, arguments, keywords and type")
    op, args, kwargs, type_ = value
    if not isinstance(kwargs, dict):
        raise GraphError(f"{where} has keyword arguments that are no object")
    return ir.Node(
        op=_text(op, where),
        args=tuple(_decode_arg(a, where) for a in _list(args, where)),
        kwargs=tuple((_text(k, where), _decode_arg(a, where)) for k, a in kwargs.items()),
        type=decode_type(type_, where),
    )


def _decode_tensor_type(value: Any, where: str) -> ir.TensorType:
    type_ = decode_type(value, where)
    if not isinstance(type_, ir.TensorType):
        raise GraphError(f"{where} has {value!r} where a tensor type belongs")
    return type_


def _list(value: Any, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise GraphError(f"{where} is not a list")
    return value


def _text(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise GraphError(f"{where} has {str(value)[:200]!r} where a text belongs")
    return value
