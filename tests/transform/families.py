"""Small models of many families, each with siblings: the same structure with other weights, deeper ones, wider ones.

Random weights, the same ones for the same name, no two tensors alike. Small inputs: what counts here is what a
transformation does with their structure.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from tests.models import zoo

PICTURE = (3, 16, 16)


def conv(inner: int, outer: int, size: int = 3, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inner, outer, size, stride, size // 2, groups=groups, bias=False), nn.BatchNorm2d(outer), nn.ReLU()
    )


class Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(conv(width, width), nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(x + self.body(x))


class Dense(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = conv(width, width // 2), conv(width // 2 * 3, width // 2, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        first = self.first(x)
        return torch.cat([first, self.second(torch.cat([x, first], 1))], 1)


class Mobile(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            conv(width, 2 * width, 1), conv(2 * width, 2 * width, groups=2 * width), conv(2 * width, width, 1)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


class Squeezing(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = conv(width, width)
        self.down, self.up = nn.Conv2d(width, 4, 1), nn.Conv2d(4, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = self.body(x)
        return found * torch.sigmoid(self.up(torch.relu(self.down(found.mean((2, 3), keepdim=True)))))


class Inception(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.ways = nn.ModuleList(conv(width, width // 4, size) for size in (1, 3, 5))
        self.pooled = conv(width, width - 3 * (width // 4), 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        pooled = self.pooled(F.max_pool2d(x, 3, 1, 1))
        return torch.cat([*(way(x) for way in self.ways), pooled], 1)


class Shuffled(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = conv(width, width, groups=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, channels, height, width = x.shape
        x = x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)
        return x + self.body(x)


def pictures(block: Callable[[int], nn.Module], width: int, depth: int) -> nn.Module:
    """A network for pictures `x [2, 3, 16, 16]`."""
    blocks = [block(width) for _ in range(depth)]
    return nn.Sequential(
        conv(3, width, stride=2), *blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 7)
    )


class Attention(nn.Module):
    def __init__(self, width: int, heads: int, is_causal: bool) -> None:
        super().__init__()
        self.before, self.between = nn.LayerNorm(width), nn.LayerNorm(width)
        self.heads, self.is_causal = heads, is_causal
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.wide, self.narrow = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        batch, tokens, width = x.shape
        parts = self.qkv(self.before(x)).view(batch, tokens, 3, self.heads, width // self.heads)
        q, k, v = parts.permute(2, 0, 3, 1, 4).unbind(0)
        found = F.scaled_dot_product_attention(q, k, v, is_causal=self.is_causal)
        x = x + self.out(found.transpose(1, 2).reshape(batch, tokens, width))
        return x + self.narrow(F.gelu(self.wide(self.between(x))))


class Texts(nn.Module):
    """A network for texts `ids [2, 9]`; its head is its embedding, transposed, if `is_tied`."""

    def __init__(self, width: int, depth: int, *, is_causal: bool = False, is_tied: bool = False) -> None:
        super().__init__()
        self.embed, self.place = nn.Embedding(50, width), nn.Parameter(torch.randn(9, width))
        self.blocks = nn.Sequential(*(Attention(width, 2, is_causal) for _ in range(depth)))
        self.head = nn.Linear(width, 50, bias=False)
        if is_tied:
            self.head.weight = self.embed.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.embed(ids) + self.place))  # type: ignore[no-any-return]


class Patches(nn.Module):
    """A transformer for pictures `x [2, 3, 16, 16]`."""

    def __init__(self, width: int, depth: int) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, width, 4, 4)
        self.blocks = nn.Sequential(*(Attention(width, 2, False) for _ in range(depth)))
        self.head = nn.Linear(width, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.blocks(self.patch(x).flatten(2).transpose(1, 2)).mean(1))  # type: ignore[no-any-return]


class Several(nn.Module):
    """Answers with weights themselves, with views of them, and has a weight without elements."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.randn(4))
        self.none = nn.Parameter(torch.randn(0, 4))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (
            self.a,
            self.a.t()[1:3],
            self.b.expand(3, 4),
            torch.cat([x @ self.a.t(), self.none.sum(1).expand(2, 0)], 1),
        )


def dense(*widths: int, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A network for vectors `x [2, widths[0]]`."""
    layers = [nn.Sequential(nn.Linear(a, b), nn.GELU()) for a, b in pairwise(widths)]
    return nn.Sequential(*layers).to(dtype)


def picture() -> dict[str, torch.Tensor]:
    return {"input": torch.randn(2, *PICTURE)}


def _text() -> dict[str, torch.Tensor]:
    return {"ids": torch.randint(0, 50, (2, 9))}


def _vector(width: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    return {"input": torch.randn(2, width, dtype=dtype)}


def model(name: str, build: Callable[[], nn.Module], example: Callable[[], dict[str, torch.Tensor]]) -> zoo.Model:
    return zoo.Model(name, build, lambda batch: example(), {}, {})


def _of_pictures() -> list[zoo.Model]:
    blocks = {
        "residual": Residual,
        "dense": Dense,
        "mobile": Mobile,
        "squeezing": Squeezing,
        "inception": Inception,
        "shuffled": Shuffled,
    }
    sizes = {"": (8, 2), "-deep": (8, 3), "-wide": (16, 2)}
    few = [model(name, partial(pictures, block, 8, 1), picture) for name, block in blocks.items()]
    return few + [
        model(f"{name}{kind}", partial(pictures, blocks[name], *size), picture)
        for name in ("residual", "mobile")
        for kind, size in sizes.items()
        if kind
    ]


SIBLINGS = [
    model("residual-sibling", partial(pictures, Residual, 8, 1), picture),
    model("causal-sibling", partial(Texts, 8, 1, is_causal=True), _text),
    model("bfloat16-sibling", partial(dense, 12, 16, 8, dtype=torch.bfloat16), partial(_vector, 12, torch.bfloat16)),
]

ALL = [
    *_of_pictures(),
    *SIBLINGS,
    model("patches", partial(Patches, 8, 1), lambda: {"x": torch.randn(2, *PICTURE)}),
    model("patches-deep", partial(Patches, 8, 2), lambda: {"x": torch.randn(2, *PICTURE)}),
    model("encoder", partial(Texts, 8, 1), _text),
    model("encoder-deep", partial(Texts, 8, 3), _text),
    model("encoder-wide", partial(Texts, 24, 1), _text),
    model("encoder-tied", partial(Texts, 8, 1, is_tied=True), _text),
    model("causal", partial(Texts, 8, 1, is_causal=True), _text),
    model("vectors", partial(dense, 12, 16, 8), partial(_vector, 12)),
    model("vectors-wide", partial(dense, 12, 400, 300, 8), partial(_vector, 12)),
    model("bfloat16", partial(dense, 12, 16, 8, dtype=torch.bfloat16), partial(_vector, 12, torch.bfloat16)),
    model("float64", partial(dense, 12, 16, 8, dtype=torch.float64), partial(_vector, 12, torch.float64)),
    model("several", Several, lambda: {"x": torch.randn(2, 4)}),
    model("nothing", nn.ReLU, lambda: {"input": torch.randn(3)}),
    *(each for each in zoo.ALL if each.name in ("bert", "gpt2", "resnet20_cifar10", "densenet40_k12_bc_cifar10")),
]
