"""Random models to plan between: packages whose graphs keep the grammar, in pairs of every kinship.

Tensors lie one behind the other as a package has them, and draw their digests from few, so that some are equal within
a model and between two. The weights files do not exist: nothing here reads them.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

from hypothesis import strategies as st

from instar.graph import ir
from instar.graph.signature import Port, Signature
from instar.package import Package, Tensor
from instar.plan.costs import Costs
from instar.weights import layout
from instar.weights.manifest import Weights
from tests.graph.strategies import graphs

# Rates of the order that systems.md's and design.md's figures suggest. Made up: nobody measured them.
PLAUSIBLE = Costs(
    "made up",
    {
        "replace": 60.0,
        "reshape": 250.0,
        "reduce": 60.0,
        "add": 300.0,
        "edge": 100.0,
        "view": 2_000.0,
        "moved byte": 0.01,
        "transform": 150_000.0,
        "unmapped byte": 0.001,
        "mapped byte": 0.001,
        "load": 200_000.0,
        "load view": 5_000.0,
        "operator": 200.0,
        "weight": 500.0,
        "dropped view": 500.0,
        "closed view": 500.0,
    },
)


def package_of(graph: ir.Graph, digest_of: Callable[[int], int]) -> Package:
    """A package of a graph; `digest_of` gives a number for each weight, equal ones mean equal bytes."""
    offset, tensors = layout.ALIGNMENT, []
    for index, type_ in enumerate(graph.weights):
        shape = tuple(int(n) for n in type_.shape)
        strides = [1]
        for size in reversed(shape[1:]):
            strides.insert(0, strides[0] * size)
        nbytes = 4 * strides[0] * shape[0] if shape else 4
        digest = f"{digest_of(index):064x}"
        tensors.append(Tensor(f"w{index}", "float32", shape, tuple(strides[: len(shape)]), offset, nbytes, digest))
        offset += nbytes + -nbytes % layout.ALIGNMENT
    chunks = (f"{0:064x}",) * layout.chunk_count(offset, layout.CHUNK_BYTES)
    types = [graph.type_of(o) for o in graph.outputs]
    signature = Signature(
        inputs=tuple(Port(f"x{i}", t) for i, t in enumerate(graph.inputs)),
        outputs=tuple(Port(f"y{i}", t) for i, t in enumerate(types) if isinstance(t, ir.TensorType)),
        result="tuple",
        dims=(),
    )
    return Package(signature, graph, tuple(tensors), Weights(offset, layout.CHUNK_BYTES, chunks))


@st.composite
def packages(draw: Any, graph: st.SearchStrategy[ir.Graph] | None = None) -> Package:
    """A small random model."""
    found = draw(graphs() if graph is None else graph)
    numbers = draw(st.lists(st.integers(0, 5), min_size=len(found.weights), max_size=len(found.weights)))
    return package_of(found, numbers.__getitem__)


@st.composite
def pairs(draw: Any) -> tuple[Package, Package]:
    """Two models: strangers, siblings of one graph, or one of them the beginning of the other; in either order."""
    first = draw(packages())
    match draw(st.sampled_from(["strangers", "siblings", "beginning"])):
        case "strangers":
            second = draw(packages())
        case "siblings":
            second = draw(packages(st.just(first.graph)))
        case _:
            second = draw(packages(st.just(beginning(first.graph, draw(st.integers(0, len(first.graph.nodes)))))))
    return (first, second) if draw(st.booleans()) else (second, first)


def costs() -> st.SearchStrategy[Costs]:
    """Any rates at all, whatever sense they make."""
    rate = st.floats(0, 1e6)
    return st.builds(Costs, st.just("any"), st.fixed_dictionaries(dict.fromkeys(PLAUSIBLE.rates_ns, rate)))


def beginning(graph: ir.Graph, count: int) -> ir.Graph:
    """The first `count` nodes of a graph, handing back what it handed back as far as that is there."""
    last = len(graph.inputs) + count
    kept = tuple(o for o in graph.outputs if isinstance(o, ir.Weight) or o.id < last)
    return ir.Graph(graph.inputs, graph.weights, graph.nodes[:count], kept or (ir.Value(0),), graph.symbols)


def network(rng: random.Random) -> Package:
    """A network of a few hundred operators in stages of blocks, as the families in a model zoo are: they share types
    of operators, and differ in depth, in width and in what stands between."""
    nodes: list[ir.Node] = []
    weights: list[ir.TensorType] = []
    contents: list[int] = []
    foreign = rng.random() < 0.5  # trained by itself, or sharing a backbone with the others

    def weight(*shape: int) -> ir.Weight:
        weights.append(ir.TensorType("float32", shape))
        contents.append(rng.getrandbits(64) if foreign else hash((len(weights), *shape)) % 2**64)
        return ir.Weight(len(weights) - 1)

    def add(op: str, *args: ir.Arg, width: int) -> ir.Value:
        nodes.append(ir.Node(op, args, (), ir.TensorType("float32", (4, width))))
        return ir.Value(len(nodes))

    widths: Sequence[int] = rng.choice([(64, 128, 256, 512), (96, 192, 384), (64, 64, 128, 128)])
    activation = rng.choice(["relu", "silu", "gelu"])
    value, before = ir.Value(0), 64
    for width in widths:
        value = add("aten.linear.default", value, weight(width, before), weight(width), width=width)
        before = width
        for _ in range(rng.randint(1, 8)):
            kept = value
            for inner, outer in ((width * 4, width), (width, width * 4)):
                value = add("aten.linear.default", value, weight(inner, outer), weight(inner), width=inner)
                if rng.random() < 0.7:
                    scale = weight(inner), weight(inner)
                    value = add("aten.layer_norm.default", value, (inner,), *scale, 1e-5, width=inner)
                value = add(f"aten.{activation}.default", value, width=inner)
            value = add("aten.add.Tensor", value, kept, width=width)
    graph = ir.Graph((ir.TensorType("float32", (4, 64)),), tuple(weights), tuple(nodes), (value,))
    return package_of(graph, contents.__getitem__)
