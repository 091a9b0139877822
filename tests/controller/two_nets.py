"""Two small nets, each with an action of its own, and costs at which there always is a plan between them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from tests.runtime.containers import zipped

import instar
from instar import profiles
from instar.plan.costs import Costs
from instar.plan.fit import Error
from instar.profiles import Profile

HANDLER = """
import instar, torch
model = instar.model()
def main(args):
    return {"values": model(torch.full((1, 4), float(args["x"]))).flatten().tolist()}
"""
WIDTHS = {"narrow": 8, "wide": 16}  # by the names of their actions
_ERROR = Error(1, 0.0, 0.0, 1.0)
PROFILE = Profile(Costs("where loading takes a second", {"load": 1e9, "view": 1000.0}), _ERROR, _ERROR, "a test")


class Net(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(width)
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.ReLU(), torch.nn.Linear(width, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Sample:
    """An action's archive, and the plain net in it."""

    net: Net
    code: bytes

    def answer(self, x: float) -> list[float]:
        """What the plain net says."""
        with torch.inference_mode():
            values: list[float] = self.net(torch.full((1, 4), float(x))).flatten().tolist()
        return values


def samples(folder: Path) -> dict[str, Sample]:
    """Both, by the names of their actions, packed into this folder."""
    made = {}
    for name, width in WIDTHS.items():
        net = Net(width).eval()
        instar.pack(net, torch.zeros(1, 4), folder / name)
        files: dict[str, str | bytes] = {"__main__.py": HANDLER}
        files |= {f"{name}/{path.name}": path.read_bytes() for path in (folder / name).iterdir()}
        made[name] = Sample(net, zipped(files))
    return made


def write_profile(folder: Path) -> Path:
    """The costs, in a file."""
    path = folder / "profile.json"
    path.write_bytes(profiles.encode(PROFILE))
    return path
