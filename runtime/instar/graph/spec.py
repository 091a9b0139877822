"""The grammar of a graph, and the check that a graph keeps it.

A graph that passes `check` can be compiled and run without fear: every operator is on the allow-list, every
argument has the type that the operator declares, every reference points to something defined before, and every
constant that decides whether an operator writes or draws random numbers has the harmless value.

    graph   := inputs weights nodes outputs
    node    := op args kwargs type          op in operators.names()
    arg     := value | weight | dtype | memory format | device | int | float | bool | text | None | [arg …]
    value   := the number of an input or of an earlier node
    dim     := whole number ≥ 0 | expression over the graph's symbols

The check looks at nothing but the graph: whether shapes fit is found when the operators run.
"""

from __future__ import annotations

import re

from instar.errors import GraphError
from instar.graph import ir, operators

DTYPES = frozenset(
    [
        "float64",
        "float32",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
        "complex64",
        "complex128",
    ]
)
MEMORY_FORMATS = frozenset(["contiguous_format", "channels_last", "channels_last_3d", "preserve_format"])
SCALARS = frozenset(["int", "float", "bool"])

# Bounds that no honest model comes near; they keep a hostile one from tying up the process that checks it.
MAX_NODES = 200_000
MAX_WEIGHTS = 200_000
MAX_RANK = 64
MAX_LIST = 65_536
MAX_TEXT = 1_024
INT_LIMIT = 2**63

SYMBOL = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}\Z")
# What cannot be said with these characters is written "?": unknown until the program runs.
EXPRESSION = re.compile(r"[A-Za-z0-9_+\-*/%() .?]{1,512}\Z")

# Arguments that decide whether an operator keeps to itself: these values, or the graph is refused.
_REQUIRED: dict[str, dict[str, tuple[ir.Arg, ...]]] = {
    "aten.batch_norm.default": {"training": (False,)},
    "aten.instance_norm.default": {"running_mean": (None,), "running_var": (None,)},
    "aten.scaled_dot_product_attention.default": {"dropout_p": (0, 0.0)},
    "aten.lstm.input": {"train": (False,)},
    "aten.gru.input": {"train": (False,)},
    "aten.rnn_tanh.input": {"train": (False,)},
    "aten.rnn_relu.input": {"train": (False,)},
}


def check(graph: ir.Graph) -> None:
    """Raise `GraphError`, naming the node and the argument, unless the graph keeps the grammar."""
    if len(graph.nodes) > MAX_NODES or len(graph.weights) > MAX_WEIGHTS:
        raise GraphError(
            f"the graph has {len(graph.nodes)} nodes and {len(graph.weights)} weights; "
            f"at most {MAX_NODES} and {MAX_WEIGHTS} are taken"
        )
    if not graph.outputs:
        raise GraphError("the graph has no outputs; a model must give at least one tensor")
    for symbol in graph.symbols:
        if not SYMBOL.match(symbol):
            raise GraphError(f"the dimension name {symbol!r} is not a word of letters, digits and '_'")
    for place, types in (("input", graph.inputs), ("weight", graph.weights)):
        for index, type_ in enumerate(types):
            _check_tensor_type(type_, f"{place} {index}", symbolic=place == "input")
    for position, node in enumerate(graph.nodes):
        _check_node(graph, position, node)
    for output in graph.outputs:
        where = "an output"
        _check_reference(graph, len(graph.nodes), output, where)
        if not isinstance(graph.type_of(output), ir.TensorType):
            raise GraphError(f"{where} refers to {output}, which is not a tensor")


def _check_node(graph: ir.Graph, position: int, node: ir.Node) -> None:
    where = f"node {position} ({node.op[:100]})"
    _check_value_type(node.type, where)
    if node.op == operators.GETITEM:
        _check_getitem(graph, position, node, where)
    elif node.op in operators.PYTHON:
        _check_python(graph, position, node, where)
    else:
        _check_aten(graph, position, node, where)


def _check_aten(graph: ir.Graph, position: int, node: ir.Node, where: str) -> None:
    try:
        schema = operators.schema(node.op)
    except KeyError:
        raise GraphError(
            f"node {position} uses the operator {node.op[:MAX_TEXT]!r}, which is not on the list of "
            f"{len(operators.names())} operators that a package may use; write the model without it"
        ) from None
    given = _bind(schema, node, where)
    for parameter, argument in given.items():
        _check_argument(graph, position, parameter, argument, where)
    for name, allowed in _REQUIRED.get(node.op, {}).items():
        value = next((a for p, a in given.items() if p.name == name), allowed[0])
        if not any(value == one and type(value) is type(one) for one in allowed):
            raise GraphError(f"{where}: {name} must be {allowed[0]!r} in a package, not {_shown(value)}")
    _check_results(schema, node, where)


def _bind(schema: operators.Schema, node: ir.Node, where: str) -> dict[operators.Parameter, ir.Arg]:
    positional = [p for p in schema.parameters if not p.keyword_only]
    if len(node.args) > len(positional):
        raise GraphError(f"{where} has {len(node.args)} positional arguments; it takes {len(positional)}")
    given: dict[operators.Parameter, ir.Arg] = dict(zip(positional, node.args, strict=False))
    by_name = {p.name: p for p in schema.parameters}
    for name, argument in node.kwargs:
        if name not in by_name or by_name[name] in given:
            raise GraphError(f"{where} has no free parameter named {name[:MAX_TEXT]!r}")
        given[by_name[name]] = argument
    for parameter in schema.parameters:
        if parameter.required and parameter not in given:
            raise GraphError(f"{where} lacks its argument {parameter.name!r}")
    return given


def _check_results(schema: operators.Schema, node: ir.Node, where: str) -> None:
    match node.type:
        case ir.TupleType(items):
            fits = schema.results == -1 or (schema.results > 1 and len(items) == schema.results)
            fits = fits and all(isinstance(item, ir.TensorType) for item in items)
        case ir.TensorType():
            fits = schema.results == 1 and schema.gives_tensor
        case ir.ScalarType():
            fits = schema.results == 1 and not schema.gives_tensor
    if not fits:
        raise GraphError(f"{where} is declared to give {node.type}, which is not what the operator gives")


def _check_argument(
    graph: ir.Graph, position: int, parameter: operators.Parameter, argument: ir.Arg, where: str
) -> None:
    where = f"{where}, argument {parameter.name!r}"
    if argument is None:
        if not parameter.optional:
            raise GraphError(f"{where} must not be None")
    elif not parameter.is_list:
        _check_item(graph, position, parameter.kind, argument, where)
    elif isinstance(argument, tuple):
        if len(argument) > MAX_LIST:
            raise GraphError(f"{where} is a list of {len(argument)} items; at most {MAX_LIST} are taken")
        for item in argument:
            if not (item is None and parameter.item_optional):
                _check_item(graph, position, parameter.kind, item, where)
    elif isinstance(argument, ir.Value) and parameter.kind == "Tensor":
        # A whole list that an earlier node gave, such as the result of chunk.
        _check_reference(graph, position, argument, where)
        type_ = graph.type_of(argument)
        if not (isinstance(type_, ir.TupleType) and all(isinstance(i, ir.TensorType) for i in type_.items)):
            raise GraphError(f"{where} wants a list of tensors; {argument} is {type_}")
    elif parameter.length is not None:
        _check_item(graph, position, parameter.kind, argument, where)
    else:
        raise GraphError(f"{where} wants a list, not {_shown(argument)}")


def _check_item(graph: ir.Graph, position: int, kind: str, argument: ir.Arg, where: str) -> None:
    if isinstance(argument, ir.Value | ir.Weight):
        _check_reference(graph, position, argument, where)
        type_ = graph.type_of(argument)
        if kind == "Tensor":
            # torch takes a number where a tensor is wanted, and wraps it.
            fits = isinstance(type_, ir.TensorType | ir.ScalarType)
        elif kind == "number":
            fits = isinstance(type_, ir.ScalarType)
        elif kind in SCALARS:
            fits = isinstance(type_, ir.ScalarType) and (type_.kind == kind or kind == "float")
        else:
            fits = False
        if not fits:
            raise GraphError(f"{where} wants a {kind}; {argument} is {type_}")
    elif not _is_constant(kind, argument):
        raise GraphError(f"{where} wants a {kind}, not {_shown(argument)}")


def _is_constant(kind: str, argument: ir.Arg) -> bool:
    match kind:
        case "int":
            return _is_int(argument)
        case "float":
            return isinstance(argument, float) or _is_int(argument)
        case "bool":
            return isinstance(argument, bool)
        case "number" | "Tensor":
            return isinstance(argument, bool | float) or _is_int(argument)
        case "str":
            return isinstance(argument, str) and len(argument) <= MAX_TEXT
        case "dtype":
            return isinstance(argument, ir.Dtype) and argument.name in DTYPES
        case "memory_format":
            return isinstance(argument, ir.MemoryFormat) and argument.name in MEMORY_FORMATS
        case "device":
            return isinstance(argument, ir.Device)
        case _:  # a layout is never given
            return False


def _is_int(argument: ir.Arg) -> bool:
    return isinstance(argument, int) and not isinstance(argument, bool) and -INT_LIMIT <= argument < INT_LIMIT


def _check_python(graph: ir.Graph, position: int, node: ir.Node, where: str) -> None:
    wanted = operators.PYTHON[node.op]
    if len(node.args) != wanted or node.kwargs:
        raise GraphError(f"{where} takes {wanted} numbers, not {len(node.args)} arguments")
    for argument in node.args:
        _check_item(graph, position, "number", argument, where)
    if not isinstance(node.type, ir.ScalarType):
        raise GraphError(f"{where} gives a number, not {node.type}")
    if node.op == "py.pow" and not (_is_int(node.args[1]) and 0 <= _as_int(node.args[1]) <= 8):
        raise GraphError(f"{where}: the exponent must be a constant between 0 and 8, not {_shown(node.args[1])}")


def _shown(argument: ir.Arg) -> str:
    """An argument for a message, cut short: what is refused may be large on purpose."""
    text = repr(argument)
    return text if len(text) <= 200 else text[:200] + "…"


def _as_int(argument: ir.Arg) -> int:
    assert isinstance(argument, int)
    return argument


def _check_getitem(graph: ir.Graph, position: int, node: ir.Node, where: str) -> None:
    if len(node.args) != 2 or node.kwargs:
        raise GraphError(f"{where} takes a tuple and an index")
    whole, index = node.args
    if not isinstance(whole, ir.Value):
        raise GraphError(f"{where} wants a reference to a tuple, not {_shown(whole)}")
    _check_reference(graph, position, whole, where)
    type_ = graph.type_of(whole)
    if not isinstance(type_, ir.TupleType):
        raise GraphError(f"{where}: {whole} is {type_}, not a tuple")
    if not _is_int(index) or not 0 <= _as_int(index) < len(type_.items):
        raise GraphError(f"{where}: the index {_shown(index)} is outside 0…{len(type_.items) - 1}")
    if node.type != type_.items[_as_int(index)]:
        raise GraphError(f"{where} is declared to give {node.type}, the tuple holds {type_.items[_as_int(index)]}")


def _check_reference(graph: ir.Graph, position: int, reference: ir.Value | ir.Weight, where: str) -> None:
    if isinstance(reference, ir.Weight):
        if not 0 <= reference.index < len(graph.weights):
            raise GraphError(
                f"{where} refers to weight {reference.index}; the graph has {len(graph.weights)} weights"
            )
    elif not 0 <= reference.id < len(graph.inputs) + position:
        raise GraphError(
            f"{where} refers to value {reference.id}, which is not defined before it "
            f"(values 0…{len(graph.inputs) + position - 1} are)"
        )


def _check_value_type(type_: ir.ValueType, where: str) -> None:
    match type_:
        case ir.TensorType():
            _check_tensor_type(type_, where, symbolic=True)
        case ir.ScalarType(kind):
            if kind not in SCALARS:
                raise GraphError(f"{where} gives a number of unknown kind {kind!r}")
        case ir.TupleType(items):
            if len(items) > MAX_LIST:
                raise GraphError(f"{where} gives {len(items)} results; at most {MAX_LIST} are taken")
            for item in items:
                if isinstance(item, ir.TupleType):
                    raise GraphError(f"{where} gives a tuple in a tuple")
                _check_value_type(item, where)


def _check_tensor_type(type_: ir.TensorType, where: str, *, symbolic: bool) -> None:
    if type_.dtype not in DTYPES:
        raise GraphError(f"{where} has the unknown dtype {type_.dtype!r}; known are {', '.join(sorted(DTYPES))}")
    if len(type_.shape) > MAX_RANK:
        raise GraphError(f"{where} has {len(type_.shape)} dimensions; at most {MAX_RANK} are taken")
    for dim in type_.shape:
        if isinstance(dim, str):
            if not symbolic or not EXPRESSION.match(dim):
                raise GraphError(f"{where} has the dimension {dim[:MAX_TEXT]!r}, which is no size")
        elif not _is_int(dim) or dim < 0:
            raise GraphError(f"{where} has the dimension {dim!r}; sizes are whole numbers from 0")
