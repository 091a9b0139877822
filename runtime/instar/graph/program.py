"""A graph becomes one Python function.

The source is generated here, from a graph that `spec.check` has accepted, and from nothing else: a package never
brings code. One node is one line, so that the line of a traceback tells the node. Three things make the function
as fast as the module that it came from:

* each value is dropped after its last use, so the allocator hands the same memory out again;
* an operator writes over its first operand where nobody can tell (`inplace.py`), as careful authors do by hand;
* weights are the items of one list, the global `weights`: binding one is setting an item.

Values share few variables (`r0, r1, …`), and whatever only the gated variant wants is kept apart: reading code back
costs by the object, and half of all objects would be names.

The function is cut into stages, runs of operators whose weights end in the same chunk of the weights file. The
*gated* variant calls `gate(i)` before stage i; the *free* variant is the same source without these calls.
"""

from __future__ import annotations

import itertools
import marshal
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import CodeType

from instar.graph import inplace, ir, operators
from instar.graph.lifetimes import last_uses

# Changing what is generated changes this number, and with it every key under which compiled code is kept.
VERSION = 2
FUNCTION = "program"
_FIRST_NODE_LINE = 2  # line 1 is the def

_BINARY = {"py.add": "+", "py.sub": "-", "py.mul": "*", "py.floordiv": "//", "py.truediv": "/", "py.mod": "%"}
_CALLS = {"py.max": "max", "py.min": "min", "py.floor": "floor", "py.ceil": "ceil"}
_CALLS |= {"py.int": "int", "py.float": "float"}


@dataclass(frozen=True, slots=True)
class Stage:
    """Nodes `first` to `last` (exclusive), and the weights that none of the stages before has used."""

    first: int
    last: int
    weights: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """Compiled code in two variants, and the names that it expects to find among its globals.

    `operators` maps a global name to an operator (`aten.relu_.default`), `dtypes` and `memory_formats` to those
    of torch; `weights` is a list of tensors, `device` the device, and the gated variant also wants `gate`.
    That variant is kept marshalled, since most loads never ask for it.
    """

    free: CodeType
    gated_marshalled: bytes
    operators: tuple[tuple[str, str], ...]
    dtypes: tuple[tuple[str, str], ...]
    memory_formats: tuple[tuple[str, str], ...]

    def gated(self) -> tuple[CodeType, tuple[Stage, ...]]:
        """The code of the gated variant, and the stages whose numbers it gives to `gate`."""
        code, stages = marshal.loads(self.gated_marshalled)
        return code, tuple(Stage(*stage) for stage in stages)


def compile_graph(graph: ir.Graph, stages: Sequence[Stage] | None = None) -> Program:
    """Compile a checked graph. Without `stages` the whole graph is one stage."""
    if stages is None:
        stages = (Stage(0, len(graph.nodes), tuple(range(len(graph.weights)))),)
    writer = _Writer(graph, stages)
    free, gated = writer.source(frozenset()), writer.source(frozenset(range(len(stages))))
    plain_stages = tuple((stage.first, stage.last, stage.weights) for stage in stages)
    return Program(
        free=_code(free),
        gated_marshalled=marshal.dumps((_code(gated), plain_stages)),
        operators=tuple(sorted(writer.operators.items())),
        dtypes=tuple(sorted(writer.dtypes.items())),
        memory_formats=tuple(sorted(writer.memory_formats.items())),
    )


def cut(graph: ir.Graph, last_chunk: Sequence[int]) -> tuple[Stage, ...]:
    """Cut a graph into stages: a new one begins where a weight lies beyond every chunk seen so far.

    `last_chunk[i]` is the chunk in which weight i ends. Since the file holds weights in execution order, a stage
    waits for one chunk, or for few neighbouring ones where a weight spans them.
    """
    stages: list[Stage] = []
    seen: set[int] = set()
    weights: list[int] = []
    first, reached = 0, -1
    for position, node in enumerate(graph.nodes):
        wanted = [r.index for r in ir.node_references(node) if isinstance(r, ir.Weight) and r.index not in seen]
        furthest = max((last_chunk[w] for w in wanted), default=reached)
        if furthest > reached:
            if position > first:
                stages.append(Stage(first, position, tuple(weights)))
                first, weights = position, []
            reached = furthest
        for weight in wanted:
            if weight not in seen:
                seen.add(weight)
                weights.append(weight)
    rest = [o.index for o in graph.outputs if isinstance(o, ir.Weight) and o.index not in seen]
    stages.append(Stage(first, len(graph.nodes), (*weights, *dict.fromkeys(rest))))
    return tuple(stages)


def node_of_line(line: int) -> int:
    """The number of the node that stands on a line of the source, as a traceback counts lines."""
    return line - _FIRST_NODE_LINE


def source_of(graph: ir.Graph) -> str:
    """The source of the free variant, for people to read."""
    return _Writer(graph, ()).source(frozenset())


def _code(source: str) -> CodeType:
    module = compile(source, "<instar program>", "exec", dont_inherit=True, optimize=2)
    return next(c for c in module.co_consts if isinstance(c, CodeType) and c.co_name == FUNCTION)


class _Writer:
    """Writes the source of one graph and remembers which names it used."""

    def __init__(self, graph: ir.Graph, stages: Sequence[Stage]) -> None:
        self.graph = graph
        self.starts = {stage.first: number for number, stage in enumerate(stages)}
        self.written_over = inplace.find(graph)
        self.operators: dict[str, str] = {}
        self.dtypes: dict[str, str] = {}
        self.memory_formats: dict[str, str] = {}
        self.variables: dict[int, str] = {}  # value -> the variable that holds it, at this point of the source

    def source(self, gates: frozenset[int]) -> str:
        graph = self.graph
        dead_after = _dead_after(graph)
        inputs = [f"x{i}" for i in range(len(graph.inputs))]
        self.variables = dict(enumerate(inputs))
        idle: list[str] = []
        count = itertools.count()
        lines = [f"def {FUNCTION}({', '.join(inputs)}):"]
        for position, node in enumerate(graph.nodes):
            value = len(graph.inputs) + position
            gate = f"gate({self.starts[position]}); " if self.starts.get(position) in gates else ""
            expression = self.expression(position, node)
            dying = [self.variables.pop(v) for v in dead_after.get(position, []) if v != value]
            # Taking over the variable of an operand that dies here drops the operand as soon as the call is over.
            target = dying.pop() if dying else (idle.pop() if idle else f"r{next(count)}")
            if value in dead_after.get(position, []):
                dying.append(target)
            else:
                self.variables[value] = target
            idle += dying
            delete = f"; del {', '.join(dying)}" if dying else ""
            lines.append(f"    {gate}{target} = {expression}{delete}")
        outputs = "".join(f"{self.argument(o)}, " for o in graph.outputs)
        lines.append(f"    {'gate(0); ' if gates and not graph.nodes else ''}return ({outputs})")
        return "\n".join(lines) + "\n"

    def expression(self, position: int, node: ir.Node) -> str:
        arguments = [self.argument(a) for a in node.args]
        if node.op == operators.GETITEM:
            return f"{arguments[0]}[{arguments[1]}]"
        if node.op in _BINARY:
            return f"{arguments[0]} {_BINARY[node.op]} {arguments[1]}"
        if node.op == "py.pow":
            return f"{arguments[0]} ** {arguments[1]}"
        if node.op == "py.neg":
            return f"-{arguments[0]}"
        if node.op in _CALLS:
            return f"{_CALLS[node.op]}({', '.join(arguments)})"
        operator = self.written_over.get(position, node.op)
        name = operator.replace(".", "_")
        self.operators[name] = operator
        arguments += [f"{key}={self.argument(a)}" for key, a in node.kwargs]
        return f"{name}({', '.join(arguments)})"

    def argument(self, argument: ir.Arg) -> str:
        match argument:
            case ir.Value(id_):
                return self.variables[id_]
            case ir.Weight(index):
                return f"weights[{index}]"
            case ir.Device():
                return "device"
            case ir.Dtype(name):
                self.dtypes[f"dtype_{name}"] = name
                return f"dtype_{name}"
            case ir.MemoryFormat(name):
                self.memory_formats[f"format_{name}"] = name
                return f"format_{name}"
            case tuple():
                return f"({''.join(f'{self.argument(item)}, ' for item in argument)})"
            case float():
                literal = repr(argument) if math.isfinite(argument) else f'float("{argument}")'
                return f"({literal})" if literal.startswith("-") else literal
            case int() if argument < 0:
                return f"({argument})"
            case _:
                return repr(argument)  # a number, None, or text with its quotes: a Python literal


def _dead_after(graph: ir.Graph) -> Mapping[int, list[int]]:
    """For each node, the values that nobody needs once it has run, its own included if nobody asks for it."""
    dead: dict[int, list[int]] = {}
    for value, position in last_uses(graph).items():
        if position < len(graph.nodes):
            dead.setdefault(position, []).append(value)
    return dead
