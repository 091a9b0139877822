"""The modules that actions under test call."""

from __future__ import annotations

import torch
from torch import nn


class Net(nn.Module):
    """A small convolutional network: `x [batch, 3, 16, 16]` to `[batch, 7]`."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten())
        self.head = nn.Linear(128, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.body(x))  # type: ignore[no-any-return]


class Pair(nn.Module):
    """Two inputs of odd dtypes, a tuple of two results: `ids [n]` int64 and `mask [n]` bool."""

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return ids * 2, mask & (ids > 2)


class Named(nn.Module):
    """A dict of results, in bfloat16."""

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"double": x * 2, "sum": x.sum()}


class Wide(nn.Module):
    """A result a thousand times as large as its input: `x [n, 1]` to `[n, 1000]`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * torch.ones(1, 1000)


class Deep(nn.Module):
    """Eight megabytes of weights, one after the other: `x [n, 512]` to the same shape."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(*(nn.Linear(512, 512) for _ in range(8)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.body(x)  # type: ignore[no-any-return]
