"""From torch to a graph: `torch.export` traces the module, this file writes down what it saw.

The traced program is used as it is where it can be, since decomposed operators are slower: operators that write
in place become functional ones (`functional.py`), assertions and identities vanish. Where values overlap in memory
while one of them is written, torch's own functionalisation is asked instead. Tensors keep their order of first
use, so that the weights file is read from front to back while the model runs.

Whatever cannot be a package is refused with a `PackError` that names the place in the user's code.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.export.graph_signature import InputKind, OutputKind

from instar.errors import PackError
from instar.graph import functional, ir, operators, spec, tracing
from instar.graph.signature import Bounds, Port, Signature


@dataclass(frozen=True, slots=True)
class Exported:
    """A traced model: how it is called, its graph, and the graph's weights as named tensors, in order."""

    signature: Signature
    graph: ir.Graph
    tensors: tuple[tuple[str, torch.Tensor], ...]


# What torch traces sizes with -> the operator of a graph.
_PYTHON: dict[Callable[..., Any], str] = {
    operator.add: "py.add",
    operator.sub: "py.sub",
    operator.mul: "py.mul",
    operator.floordiv: "py.floordiv",
    operator.truediv: "py.truediv",
    operator.mod: "py.mod",
    operator.pow: "py.pow",
    operator.neg: "py.neg",
    torch.sym_max: "py.max",
    torch.sym_min: "py.min",
    torch.sym_int: "py.int",
    torch.sym_float: "py.float",
    operator.getitem: operators.GETITEM,
}

# Checks of the tracer on values that the signature, or the operators themselves, check again.
_ASSERTIONS = re.compile(r"aten\.(_assert\w*|sym_constrain_range\w*)\.")
# Arguments that only say where and how memory is had.
_DROPPED = frozenset(["pin_memory", "layout", "non_blocking"])


def export(
    module: torch.nn.Module, inputs: Mapping[str, torch.Tensor], dims: Mapping[str, Mapping[int, str]],
    bounds: Mapping[str, Bounds],
) -> Exported:  # fmt: skip
    """Trace `module` in evaluation mode and write it down.

    `inputs` are example tensors by the parameter names of `forward`, `dims[input][axis]` names a dynamic dimension,
    `bounds` gives the sizes that each name may have. Nothing is computed: torch traces with fake tensors.

    Raises `PackError`.
    """
    training = {m for m in module.modules() if m.training}
    module.eval()
    try:
        program = tracing.trace(module, inputs, dims, bounds)
        return from_program(program, dims, bounds)
    finally:
        for part in training:
            part.training = True


def from_program(
    program: torch.export.ExportedProgram,
    dims: Mapping[str, Mapping[int, str]] | None = None,
    bounds: Mapping[str, Bounds] | None = None,
) -> Exported:
    """Write down a traced program, such as one that `torch.export.load` read from a `.pt2` file.

    Without `dims` the dynamic dimensions keep torch's names, without `bounds` torch's ranges.

    Raises `PackError`.
    """
    try:
        module = functional.functionalise(program.graph_module)
    except functional.Overlap:
        with tracing.quiet(), torch.no_grad():
            program = program.run_decompositions({})
        module = functional.functionalise(program.graph_module)
    return _Translation(program, module, dims or {}, bounds or {}).result()


class _Translation:
    """One traced program on its way to a graph."""

    def __init__(
        self,
        program: torch.export.ExportedProgram,
        module: torch.fx.GraphModule,
        dims: Mapping[str, Mapping[int, str]],
        bounds: Mapping[str, Bounds],
    ) -> None:
        self.program = program
        self.module = module
        self.bounds = bounds
        self.symbols = _symbols(_fake_inputs(module), dims)
        self.values: dict[torch.fx.Node, ir.Arg] = {}
        self.nodes: list[ir.Node] = []
        self.inputs: list[Port] = []
        self.sources: dict[torch.fx.Node, tuple[str, torch.Tensor]] = {}
        self.tensors: list[tuple[str, torch.Tensor]] = []
        self.known: dict[tuple[Any, ...], ir.Weight] = {}

    def result(self) -> Exported:
        self._read_inputs()
        nodes = list(self.module.graph.nodes)
        for node in nodes:
            if node.op == "call_function":
                self._read_call(node)
            elif node.op not in ("placeholder", "output", "get_attr"):
                raise PackError(f"the traced program has a {node.op} ({node.name}), which a package cannot hold")
        outputs, result = self._read_outputs(nodes[-1])
        dims = tuple((name, self._bounds(name)) for name in self._used_symbols())
        graph = ir.Graph(
            inputs=tuple(p.type for p in self.inputs),
            weights=tuple(_weight_type(t) for _, t in self.tensors),
            nodes=tuple(self.nodes),
            outputs=tuple(reference for _, reference in outputs),
            symbols=tuple(name for name, _ in dims),
        )
        ports = tuple(Port(name, _as_tensor_type(graph.type_of(reference))) for name, reference in outputs)
        signature = Signature(tuple(self.inputs), ports, result, dims)
        spec.check(graph)
        return Exported(signature, graph, tuple(self.tensors))

    # Inputs

    def _read_inputs(self) -> None:
        specs = {s.arg.name: s for s in self.program.graph_signature.input_specs}
        inputs = []
        for node in self.module.graph.nodes:
            if node.op == "get_attr":
                self.sources[node] = (str(node.target), getattr(self.module, str(node.target)))
            if node.op != "placeholder":
                continue
            about = specs[str(node.target)]  # its name may have been changed, as that of one called `input` is
            if about.kind == InputKind.USER_INPUT:
                inputs.append(node)
            else:
                self.sources[node] = (str(about.target), self._tensor(about, node))
        for number, node in enumerate(inputs):
            value = node.meta.get("val")
            if not isinstance(value, torch.Tensor):
                if node.users:
                    raise PackError(f"input {node.name!r} is {value!r}, not a tensor; bind it in the module instead")
                continue
            self.values[node] = ir.Value(number)
            self.inputs.append(Port(str(node.target), self._tensor_type(value)))

    def _tensor(self, about: Any, node: torch.fx.Node) -> torch.Tensor:
        for holder in (self.program.state_dict, self.program.constants):
            found = holder.get(about.target)
            if isinstance(found, torch.Tensor):
                return found.detach()
        raise PackError(f"{about.target!r} ({about.kind}) is no tensor; a package holds tensors only")

    # Nodes

    def _read_call(self, node: torch.fx.Node) -> None:
        target = node.target
        if isinstance(target, torch._ops.HigherOrderOperator):
            raise PackError(f"{_place(node)}{target} is control flow, which a package cannot hold; write it without")
        name = _name(node)
        if _is_only_asserted(node):
            return
        identity = functional.identity_operand(node)
        if identity is not None:
            self.values[node] = self._argument(identity, node)
            return
        name, args, kwargs = _simplify(name, node)
        if name not in operators.names():
            raise PackError(
                f"{_place(node)}the operator {name} is not among the {len(operators.names())} that are allowed; "
                "replace it in the module by supported ones"
            )
        self.nodes.append(
            ir.Node(
                op=name,
                args=tuple(self._argument(a, node) for a in args),
                kwargs=tuple((k, self._argument(a, node)) for k, a in kwargs.items()),
                type=self._type(node),
            )
        )
        self.values[node] = ir.Value(len(self.inputs) + len(self.nodes) - 1)

    def _argument(self, argument: Any, node: torch.fx.Node) -> ir.Arg:
        match argument:
            case torch.fx.Node():
                if argument in self.values:
                    return self.values[argument]
                return self._weight(argument, node)
            case bool() | int() | float() | str() | None:
                return argument
            case list() | tuple():
                return tuple(self._argument(item, node) for item in argument)
            case torch.dtype():
                return ir.Dtype(_dtype_name(argument))
            case torch.memory_format():
                return ir.MemoryFormat(str(argument).removeprefix("torch."))
            case torch.device():
                return ir.Device()
            case _:
                raise PackError(
                    f"{_place(node)}an argument of {node.target} is {argument!r}, which is no plain value"
                )

    def _weight(self, source: torch.fx.Node, node: torch.fx.Node) -> ir.Weight:
        if source not in self.sources:
            raise PackError(f"{_place(node)}{node.target} uses {source.name}, which is nothing that can be packed")
        name, tensor = self.sources[source]
        key = _identity(tensor)
        if key not in self.known:
            self.known[key] = ir.Weight(len(self.tensors))
            self.tensors.append((name, tensor))
        return self.known[key]

    # Types

    def _type(self, node: torch.fx.Node) -> ir.ValueType:
        value = node.meta.get("val")
        if isinstance(value, list | tuple):
            return ir.TupleType(tuple(_as_item(self._value_type(item, node)) for item in value))
        return self._value_type(value, node)

    def _value_type(self, value: Any, node: torch.fx.Node) -> ir.ValueType:
        match value:
            case torch.Tensor():
                return self._tensor_type(value)
            case bool() | torch.SymBool():
                return ir.ScalarType("bool")
            case int() | torch.SymInt():
                return ir.ScalarType("int")
            case float() | torch.SymFloat():
                return ir.ScalarType("float")
            case _:
                raise PackError(f"{_place(node)}{node.target} gives {type(value).__name__}, which is no tensor")

    def _tensor_type(self, tensor: torch.Tensor) -> ir.TensorType:
        return ir.TensorType(_dtype_name(tensor.dtype), tuple(self._dim(size) for size in tensor.shape))

    def _dim(self, size: int | torch.SymInt) -> ir.Dim:
        if isinstance(size, int):
            return size
        text = str(size.node.expr.subs(self.symbols))
        if re.fullmatch(r"-?\d+", text):
            return int(text)
        return text if spec.EXPRESSION.match(text) else "?"

    # Dimensions and outputs

    def _used_symbols(self) -> list[str]:
        names = []
        for port in self.inputs:
            for dim in port.type.shape:
                if isinstance(dim, str):
                    if not spec.SYMBOL.match(dim):
                        raise PackError(
                            f"input {port.name!r} has the dimension {dim!r}; name it, or give it a fixed size"
                        )
                    names.append(dim)
        return list(dict.fromkeys(names))

    def _bounds(self, name: str) -> Bounds:
        if name in self.bounds:
            return self.bounds[name]
        for symbol, range_ in self.program.range_constraints.items():
            if str(self.symbols.get(symbol, symbol)) == name:
                upper = 2**31 if range_.upper > 2**31 else int(range_.upper)
                # A traced dimension starts at 2 for torch's own reasons; the operators take 1 as well.
                return Bounds(0 if range_.lower <= 0 else (1 if range_.lower <= 2 else int(range_.lower)), upper)
        raise PackError(f"the dynamic dimension {name!r} has no bounds; declare them")

    def _read_outputs(self, output: torch.fx.Node) -> tuple[list[tuple[str, ir.Value | ir.Weight]], str]:
        for about in self.program.graph_signature.output_specs:
            if about.kind != OutputKind.USER_OUTPUT:
                raise PackError(
                    f"the forward pass changes {about.target!r} ({about.kind.name.lower()}); "
                    "a served model keeps no state between calls: return the new value instead"
                )
        given = list(output.args[0])  # type: ignore[arg-type]
        names, result = _output_names(self.program, len(given))
        found = []
        for name, item in zip(names, given, strict=True):
            reference = self._argument(item, output) if item is not None else None
            if reference is None:
                continue  # a field of the result that the model leaves empty
            if not isinstance(reference, ir.Value | ir.Weight) or not isinstance(item.meta.get("val"), torch.Tensor):
                raise PackError(f"the model returns {item!r} as {name!r}; it may return tensors only")
            found.append((name, reference))
        if not found:
            raise PackError("the model returns no tensor")
        return found, result


def _symbols(inputs: Mapping[str, torch.Tensor], dims: Mapping[str, Mapping[int, str]]) -> dict[Any, Any]:
    """torch's symbols -> the names that the author gave to the dimensions."""
    import sympy  # torch brings it; needed here only, and slow to import

    names: dict[Any, Any] = {}
    for input_, axes in dims.items():
        for axis, name in axes.items():
            size = inputs[input_].shape[axis] if input_ in inputs else 0
            if isinstance(size, torch.SymInt) and size.node.expr.is_symbol:
                names[size.node.expr] = sympy.Symbol(name)
    return names


def _fake_inputs(module: torch.fx.GraphModule) -> dict[str, torch.Tensor]:
    """The tensors that torch traced the placeholders with, by name."""
    found = {str(n.target): n.meta.get("val") for n in module.graph.nodes if n.op == "placeholder"}
    return {name: value for name, value in found.items() if isinstance(value, torch.Tensor)}


def _output_names(program: torch.export.ExportedProgram, count: int) -> tuple[list[str], str]:
    """A name for each output, and the form of the result: tensor, tuple or dict."""
    from torch.utils import _pytree as pytree

    tree = program.call_spec.out_spec
    whole = pytree.tree_unflatten(list(range(count)), tree)
    if isinstance(whole, int):
        return ["output"], "tensor"
    if isinstance(whole, dict) and all(isinstance(v, int) for v in whole.values()):
        return [str(name) for name in whole], "dict"
    paths, _ = pytree.tree_flatten_with_path(whole)
    names = [re.sub(r"\W+", ".", pytree.keystr(path)).strip(".") for path, _ in paths]
    if isinstance(whole, dict):
        return names, "dict"
    return [f"output.{name}" if name[:1].isdigit() else name for name in names], "tuple"


def _simplify(name: str, node: torch.fx.Node) -> tuple[str, Sequence[Any], dict[str, Any]]:
    """Arguments without what a package does not say, and conversions in their one form."""
    args, kwargs = node.args, {k: v for k, v in node.kwargs.items() if k not in _DROPPED}
    if name in ("aten.to.device", "aten.to.dtype_layout"):
        dtype = kwargs.pop("dtype", None) if name.endswith("layout") else args[2]
        kwargs.pop("device", None)
        return "aten.to.dtype", (args[0], dtype), kwargs
    return name, args, kwargs


def _name(node: torch.fx.Node) -> str:
    """The operator's name in a graph, allowed there or not."""
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        return f"{target.namespace}.{target._opname}.{target._overloadname}"
    assert callable(target), target
    return _PYTHON.get(target, f"py.{getattr(target, '__name__', target)}")


def _is_only_asserted(node: torch.fx.Node) -> bool:
    """Whether a node is a check of the tracer, or a number that only such checks ask for."""
    if node.op != "call_function":
        return False
    name = _name(node)
    return bool(_ASSERTIONS.match(name)) or (name.startswith("py.") and all(map(_is_only_asserted, node.users)))


def _place(node: torch.fx.Node) -> str:
    """`file:line: ` of the user's code that made this node, as far as torch knows."""
    frames = re.findall(r'File "([^"]+)", line (\d+), in \w+', node.meta.get("stack_trace") or "")
    own = [f for f in frames if not tracing.IS_OURS.search(f[0])] or frames
    return f"{own[-1][0]}:{own[-1][1]}: " if own else ""


def _identity(tensor: torch.Tensor) -> tuple[Any, ...]:
    place = tensor.untyped_storage().data_ptr()
    return (place, tensor.storage_offset(), tensor.dtype, tensor.shape, tensor.stride())


def _weight_type(tensor: torch.Tensor) -> ir.TensorType:
    return ir.TensorType(_dtype_name(tensor.dtype), tuple(tensor.shape))


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _as_item(type_: ir.ValueType) -> ir.TensorType | ir.ScalarType:
    assert not isinstance(type_, ir.TupleType)
    return type_


def _as_tensor_type(type_: ir.ValueType) -> ir.TensorType:
    assert isinstance(type_, ir.TensorType)
    return type_
