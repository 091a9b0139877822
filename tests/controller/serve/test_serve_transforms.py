"""Through `instar serve` an idle container becomes the function that needs one, and answers as after a fresh load."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from servers import Server, annotations
from tests.runtime.containers import zipped

import instar
from instar import profiles
from instar.plan.costs import Costs
from instar.plan.fit import Error
from instar.profiles import Profile

pytestmark = pytest.mark.system

HANDLER = """
import instar, torch
model = instar.model()
def main(args):
    return {"values": model(torch.full((1, 4), float(args["x"]))).flatten().tolist()}
"""
ERROR = Error(1, 0.0, 0.0, 1.0)
PROFILE = Profile(Costs("where loading takes a second", {"load": 1e9, "view": 1000.0}), ERROR, ERROR, "a test")
WIDTHS = {"narrow": 8, "wide": 16}


class Net(torch.nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        torch.manual_seed(width)
        self.layers = torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.ReLU(), torch.nn.Linear(width, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layers(x)  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Net, str]]:
    """A net by the name of its action, and the action's code."""
    made = {}
    for name, width in WIDTHS.items():
        net, folder = Net(width).eval(), tmp_path_factory.mktemp("models") / name
        instar.pack(net, torch.zeros(1, 4), folder)
        files: dict[str, str | bytes] = {"__main__.py": HANDLER}
        files |= {f"{name}/{path.name}": path.read_bytes() for path in folder.iterdir()}
        made[name] = net, base64.b64encode(zipped(files)).decode()
    return made


def serve(start: Callable[..., Server], nets: dict[str, tuple[Net, str]], tmp_path: Path, *options: str) -> Server:
    """With both actions, and plans between them."""
    path = tmp_path / "profile.json"
    path.write_bytes(profiles.encode(PROFILE))
    server = start("--prewarm", "none", *options, costs=str(path))
    for name, (_, code) in nets.items():
        body = {"exec": {"kind": "pytorch:2", "code": code}, "limits": {"memory": 256}}
        assert server.request("PUT", f"/actions/{name}", body)[0] == 200
    while server.event("planned")["plans"] < 4:
        pass
    return server


def called(server: Server, nets: dict[str, tuple[Net, str]], name: str, x: int) -> dict[str, Any]:
    """What the record says of a start, whose answer is the plain net's."""
    status, activation = server.invoke(name, {"x": x})
    assert status == 200, activation["response"]
    with torch.inference_mode():
        expected = nets[name][0](torch.full((1, 4), float(x))).flatten()
    assert torch.equal(torch.tensor(activation["response"]["result"]["values"]), expected)
    note: dict[str, Any] = annotations(activation)["instar"]
    return note


def test_an_idle_container_becomes_each_function_that_needs_one(
    start: Callable[..., Server], nets: dict[str, tuple[Net, str]], tmp_path: Path
) -> None:
    server = serve(start, nets, tmp_path, "--idle-threshold", "0")
    assert called(server, nets, "narrow", 1)["start"] == "cold"
    for turn, (name, other) in enumerate([("wide", "narrow"), ("narrow", "wide"), ("wide", "narrow")]):
        note = called(server, nets, name, turn)
        assert (note["start"], note["from"], note["how"]) == ("transformed", f"guest/{other}", "transformed")
        assert called(server, nets, name, turn + 1)["start"] == "warm"


def test_a_container_that_is_not_idle_for_long_enough_stays_what_it_is(
    start: Callable[..., Server], nets: dict[str, tuple[Net, str]], tmp_path: Path
) -> None:
    server = serve(start, nets, tmp_path)
    assert called(server, nets, "narrow", 1)["start"] == "cold"
    assert called(server, nets, "wide", 1)["start"] == "cold"
    assert called(server, nets, "narrow", 2)["start"] == "warm"
