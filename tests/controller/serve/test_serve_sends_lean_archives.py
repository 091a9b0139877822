"""An action whose weights lie in its archive starts without their being sent, as soon as the node has them."""

from __future__ import annotations

import base64
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from deep import is_right, told
from servers import Server
from tests.runtime.modules import Deep

pytestmark = pytest.mark.system

HANDLER = """
import os, torch, instar
from pathlib import Path
WEIGHTS = Path(__file__).with_name("net") / "model.safetensors"
def main(args):
    x = torch.randn(3, 512, generator=torch.Generator().manual_seed(args["seed"]))
    values = instar.model()(x).flatten().tolist()
    return {"values": values, "place": os.path.realpath(WEIGHTS), "bytes": len(WEIGHTS.read_bytes())}
"""
STARTS = 6  # the store takes the weights in beside the first ones


def packed(folder: Path) -> str:
    """A package with its weights beside it, and its handler, as an action's code."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("__main__.py", HANDLER)
        for name in ("model.json", "model.safetensors"):
            archive.write(folder / name, f"net/{name}")
    return base64.b64encode(made.getvalue()).decode()


def called(server: Server) -> Path:
    """Where the weights are for another start."""
    place = Path(server.invoke("deep", {"seed": 0})[1]["response"]["result"]["place"])
    server.event("removed")
    return place


def test_the_function_finds_the_same_whatever_was_sent(
    start: Callable[..., Server], net: Deep, folder: Path, tmp_path: Path
) -> None:
    store = tmp_path / "store"
    model = next(folder.rglob("model.json")).parent
    size = (model / "model.safetensors").stat().st_size
    server = start("--prewarm", "none", "--keep-alive", "0", "--store", str(store))
    server.create("deep", packed(model), memory=512)
    places = []
    for seed in range(STARTS):
        answer = server.invoke("deep", {"seed": seed})
        assert told(answer)["start"] == "cold"
        assert is_right(answer[1], net, seed)
        result = answer[1]["response"]["result"]
        assert result["bytes"] == size
        places.append(Path(result["place"]))
        server.event("removed")
        if places[-1].is_relative_to(store):
            break
    assert places[-1].is_relative_to(store)
    again = {"exec": {"kind": "python:3", "code": packed(model)}}
    assert (
        server.request("PUT", "/actions/deep?overwrite=true", again)[0] == 200
    )  # another revision, the same weights
    while not (place := called(server)).is_relative_to(store):
        places.append(place)
        assert len(places) < 2 * STARTS
