"""Small modules with everything that makes packing hard: ties, buffers, constants, odd strides, several results."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Convolutional(nn.Module):
    """Convolution, batch norm, an activation in place, a linear layer: `x [batch, 3, 8, 8]` to `[batch, 5]`."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.act = nn.ReLU(inplace=True)
        self.head = nn.Linear(4, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.act(self.norm(self.conv(x))).mean((2, 3)))  # type: ignore[no-any-return]


class Tied(nn.Module):
    """An embedding whose weight is also the head, a buffer, a lifted constant; answers with a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 6)
        self.head = nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight
        self.turned = nn.Parameter(torch.randn(6, 6).t())  # not contiguous, and that decides the kernel
        self.register_buffer("scale", torch.tensor([0.5]), persistent=False)

    def forward(self, ids: torch.Tensor) -> dict[str, torch.Tensor]:
        hidden = self.embed(ids) @ self.turned * self.scale + torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
        return {"logits": self.head(hidden), "hidden": hidden}


class Branching(nn.Module):
    """A branch on a value, which no trace can follow."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x + 1
        return x


class Counting(nn.Module):
    """A buffer that every call changes."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls: torch.Tensor
        self.calls += 1
        return x * self.calls


class Noisy(nn.Module):
    """Random numbers, which a package must not draw."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand(3)


class Fixed(nn.Module):
    """A forward pass that works for one size only."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, 3)


class Unready(nn.Module):
    """A module that was built on the meta device and never loaded."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(3, 3, device="meta")

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x)  # type: ignore[no-any-return]


def convolutional(seed: int = 0, **_: Any) -> nn.Module:
    """A builder for the command line."""
    torch.manual_seed(seed)
    return Convolutional()


def broken() -> nn.Module:
    """A builder that fails."""
    raise RuntimeError("no such checkpoint")
