"""Made-up networks of the kinds that people deploy, to measure transformations and loads between them.

The rule: they are networks. Each keeps the grammar, runs, and has the operators, arguments and shapes that tracing a
real one gives, in any depth and width; so nothing that is measured with them depends on a model zoo. What they answer
means nothing. Inputs are as small as can be: a run is there to read every weight once, not to compute.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from instar.graph import ir
from instar.graph.ir import Arg, Graph, Node, ScalarType, TensorType, TupleType, Value, Weight
from instar.graph.signature import Bounds, Port, Signature

Architecture = Callable[[int, int], Graph]  # depth, width

BATCH, TOKENS = "batch", "tokens"
BOUNDS = {BATCH: Bounds(1, 16), TOKENS: Bounds(2, 128)}
CLASSES, WORDS, HEAD = 100, 1000, 64


def plain(depth: int, width: int) -> Graph:
    """Dense layers, one behind the other: few operators with many bytes each."""
    writer = _Writer(TensorType("float32", (BATCH, width)))
    x = Value(0)
    for _ in range(depth):
        x = writer.call("relu.default", writer.linear(x, width, width), shape=(BATCH, width))
    return writer.finish(writer.linear(x, width, CLASSES))


def residual(depth: int, width: int) -> Graph:
    """Blocks of three convolutions with a way round them, wider towards the end, as in a ResNet."""
    writer = _Writer(TensorType("float32", (BATCH, 3, 1, 1)))
    x, channels = writer.convolution(Value(0), 3, width, 3), width
    for position in range(depth):
        inner = width << (3 * position // depth)
        y = writer.convolution(x, channels, inner, 1)
        y = writer.convolution(y, inner, inner, 3)
        if channels != 2 * inner:
            x = writer.convolution(x, channels, 2 * inner, 1, activation=None)
        y = writer.convolution(y, inner, 2 * inner, 1, activation=None)
        channels = 2 * inner
        shape = (BATCH, channels, 1, 1)
        x = writer.call("relu.default", writer.call("add.Tensor", y, x, shape=shape), shape=shape)
    return writer.classes(x, channels)


def mobile(depth: int, width: int) -> Graph:
    """Inverted bottlenecks with depthwise convolutions, as in a MobileNet."""
    writer = _Writer(TensorType("float32", (BATCH, 3, 1, 1)))
    x = writer.convolution(Value(0), 3, width, 3, activation="hardtanh")
    for _ in range(depth):
        y = writer.convolution(x, width, 6 * width, 1, activation="hardtanh")
        y = writer.convolution(y, 6 * width, 6 * width, 3, groups=6 * width, activation="hardtanh")
        y = writer.convolution(y, 6 * width, width, 1, activation=None)
        x = writer.call("add.Tensor", x, y, shape=(BATCH, width, 1, 1))
    return writer.classes(x, width)


def concatenated(depth: int, width: int) -> Graph:
    """Each layer sees what all before it gave, as in a DenseNet: hardly two weights have the same shape."""
    writer = _Writer(TensorType("float32", (BATCH, 3, 1, 1)))
    x, channels = writer.convolution(Value(0), 3, 2 * width, 3), 2 * width
    for _ in range(depth):
        y = writer.normalised(x, channels)
        y = writer.convolution(writer.call("relu.default", y, shape=(BATCH, channels, 1, 1)), channels, 4 * width, 1)
        y = writer.convolve(y, 4 * width, width, 3, groups=1)
        channels += width
        x = writer.call("cat.default", (x, y), 1, shape=(BATCH, channels, 1, 1))
    return writer.classes(x, channels)


def encoder(depth: int, width: int) -> Graph:
    """A transformer for texts, as BERT is one; `width` is a multiple of `HEAD`."""
    writer = _Writer(TensorType("int64", (BATCH, TOKENS)))
    batch, tokens = (writer.call("sym_size.int", Value(0), axis, type_=ScalarType("int")) for axis in (0, 1))
    heads, wide = width // HEAD, (BATCH, TOKENS, width)
    x = writer.call("embedding.default", writer.weight(WORDS, width), Value(0), 0, shape=wide)
    x = writer.layer_norm(x, width)
    for _ in range(depth):
        parts = []
        for _ in range(3):
            y = writer.call("view.default", writer.linear(x, width, width, lead=(BATCH, TOKENS)),
                            (batch, tokens, -1, HEAD), shape=(BATCH, TOKENS, heads, HEAD))  # fmt: skip
            parts.append(writer.call("transpose.int", y, 1, 2, shape=(BATCH, heads, TOKENS, HEAD)))
        y = writer.call("scaled_dot_product_attention.default", *parts, shape=(BATCH, heads, TOKENS, HEAD))
        y = writer.call("transpose.int", y, 1, 2, shape=(BATCH, TOKENS, heads, HEAD))
        y = writer.call("reshape.default", y, (batch, tokens, -1), shape=wide)
        y = writer.linear(y, width, width, lead=(BATCH, TOKENS))
        x = writer.layer_norm(writer.call("add.Tensor", y, x, shape=wide), width)
        y = writer.linear(x, width, 4 * width, lead=(BATCH, TOKENS))
        y = writer.call("gelu.default", y, shape=(BATCH, TOKENS, 4 * width))
        y = writer.linear(y, 4 * width, width, lead=(BATCH, TOKENS))
        x = writer.layer_norm(writer.call("add.Tensor", y, x, shape=wide), width)
    return writer.finish(x)


def signature(graph: Graph) -> Signature:
    """How such a network is called."""
    types = [graph.type_of(output) for output in graph.outputs]
    return Signature(
        inputs=tuple(Port(f"x{i}", type_) for i, type_ in enumerate(graph.inputs)),
        outputs=tuple(Port(f"y{i}", type_) for i, type_ in enumerate(types) if isinstance(type_, TensorType)),
        result="tensor",
        dims=tuple((name, BOUNDS[name]) for name in graph.symbols),
    )


def nbytes(graph: Graph) -> int:
    """The bytes of its weights, which are all float32."""
    return sum(4 * prod(int(n) for n in type_.shape) for type_ in graph.weights)


class _Writer:
    """Writes the nodes of one graph, one behind the other."""

    def __init__(self, given: TensorType) -> None:
        self._given = given
        self._nodes: list[Node] = []
        self._weights: list[TensorType] = []

    def call(
        self, operator: str, *args: Arg, shape: tuple[int | str, ...] = (), type_: ir.ValueType | None = None
    ) -> Value:
        op = operator if operator.startswith("py.") else f"aten.{operator}"
        self._nodes.append(Node(op, args, (), type_ or TensorType("float32", shape)))
        return Value(len(self._nodes))

    def weight(self, *shape: int) -> Weight:
        self._weights.append(TensorType("float32", shape))
        return Weight(len(self._weights) - 1)

    def linear(self, x: Value, inner: int, outer: int, *, lead: tuple[str, ...] = (BATCH,)) -> Value:
        return self.call("linear.default", x, self.weight(outer, inner), self.weight(outer), shape=(*lead, outer))

    def layer_norm(self, x: Value, width: int) -> Value:
        scale = self.weight(width), self.weight(width)
        return self.call("layer_norm.default", x, (width,), *scale, 1e-12, False, shape=(BATCH, TOKENS, width))

    def convolve(self, x: Value, inner: int, outer: int, size: int, *, groups: int) -> Value:
        spread: tuple[Arg, ...] = () if groups == 1 else ((1, 1), groups)
        weight, pad = self.weight(outer, inner // groups, size, size), (size // 2, size // 2)
        return self.call("conv2d.default", x, weight, None, (1, 1), pad, *spread, shape=(BATCH, outer, 1, 1))

    def normalised(self, x: Value, width: int) -> Value:
        type_ = TensorType("float32", (BATCH, width, 1, 1))
        nothing = TensorType("float32", (0,))
        scale = [self.weight(width) for _ in range(4)]
        y = self.call("_native_batch_norm_legit_no_training.default", x, *scale, 0.1, 1e-5,
                      type_=TupleType((type_, nothing, nothing)))  # fmt: skip
        return self.call("py.getitem", y, 0, type_=type_)

    def convolution(
        self, x: Value, inner: int, outer: int, size: int, *, groups: int = 1, activation: str | None = "relu"
    ) -> Value:
        """Convolution, normalisation and activation."""
        y = self.normalised(self.convolve(x, inner, outer, size, groups=groups), outer)
        if activation is None:
            return y
        bounds = (0.0, 6.0) if activation == "hardtanh" else ()
        return self.call(f"{activation}.default", y, *bounds, shape=(BATCH, outer, 1, 1))

    def classes(self, x: Value, channels: int) -> Graph:
        """From pictures of one point to a score for each class."""
        batch = self.call("sym_size.int", Value(0), 0, type_=ScalarType("int"))
        y = self.call("view.default", x, (batch, -1), shape=(BATCH, channels))
        return self.finish(self.linear(y, channels, CLASSES))

    def finish(self, output: Value) -> Graph:
        symbols = tuple(dim for dim in self._given.shape if isinstance(dim, str))
        return Graph((self._given,), tuple(self._weights), tuple(self._nodes), (output,), symbols)
