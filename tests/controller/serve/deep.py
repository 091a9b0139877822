"""An action whose model's weights lie on a source of the test's, and what its records say of them."""

from __future__ import annotations

import base64
import time
from pathlib import Path
from typing import Any

import torch
from servers import Server, annotations
from tests.runtime import arriving
from tests.runtime.modules import Deep
from tests.runtime.source import Source

HANDLER = """
import torch, instar
def main(args):
    x = torch.randn(3, 512, generator=torch.Generator().manual_seed(args["seed"]))
    return {"values": instar.model()(x).flatten().tolist()}
"""
LINK = 16e6  # bytes a second: of a boot's second some are left
NAME = arriving.weights_of("net")


class Observed(Source):
    """A source that knows when it was first asked."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, bytes_per_s=LINK)
        self.asked_ms: int | None = None

    def give(self, path: str, first: int, data: bytes) -> bytes:
        self.asked_ms = self.asked_ms or time.time_ns() // 1_000_000
        return super().give(path, first, data)


def create(server: Server, folder: Path, source: Source) -> None:
    code = arriving.archive(folder, source.url, "net", main=HANDLER)
    server.create("deep", base64.b64encode(code).decode(), memory=512)


def told(answer: tuple[int, dict[str, Any]]) -> dict[str, Any]:
    status, activation = answer
    assert status == 200, activation["response"]
    note: dict[str, Any] = annotations(activation)["instar"]
    return note


def is_right(activation: dict[str, Any], net: Deep, seed: int) -> bool:
    x = torch.randn(3, 512, generator=torch.Generator().manual_seed(seed))
    with torch.inference_mode():
        expected = net(x).flatten()
    return torch.allclose(torch.tensor(activation["response"]["result"]["values"]), expected, rtol=1e-4, atol=1e-5)
