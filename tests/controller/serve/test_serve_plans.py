"""`instar serve` plans between its actions' models in the background, and what it planned survives it."""

from __future__ import annotations

import base64
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import two_nets
from servers import WAIT_S, Server, launch
from tests.runtime.containers import zipped

import instar
from instar import package

pytestmark = pytest.mark.system

HANDLER = "import instar\ndef main(args):\n    return {}\n"

Start = Callable[..., Server]


@pytest.fixture(scope="module")
def codes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The code of two actions, each with a model of its own."""
    samples = two_nets.samples(tmp_path_factory.mktemp("models"))
    return {name: base64.b64encode(sample.code).decode() for name, sample in samples.items()}


@pytest.fixture
def costs(tmp_path: Path) -> str:
    return str(two_nets.write_profile(tmp_path))


def create(server: Server, codes: dict[str, str]) -> None:
    for name, code in codes.items():
        body = {"exec": {"kind": "pytorch:2", "code": code}, "limits": {"memory": 256}}
        status, answer = server.request("PUT", f"/actions/{name}?overwrite=true", body)
        assert status == 200, answer


def planned(server: Server, actions: int) -> dict[str, Any]:
    while (event := server.event("planned"))["actions"] != actions:
        pass
    return event


def plans_of(server: Server) -> dict[str, Any]:
    """What `instar plans` tells of a server's state."""
    command = [str(Path(sys.executable).with_name("instar")), "plans", "--json", "--state", str(server.state)]
    told: dict[str, Any] = json.loads(subprocess.run(command, check=True, capture_output=True, timeout=WAIT_S).stdout)
    return told


def test_actions_are_planned_between_as_they_come_and_go_and_a_restart_knows_it(
    start: Start, codes: dict[str, str], costs: str
) -> None:
    server = start("--prewarm", "none", costs=costs)
    create(server, codes)
    assert planned(server, 2) == {"event": "planned", "actions": 2, "models": 2, "plans": 4}
    told = plans_of(server)
    assert [model["name"] for model in told["models"]] == ["guest/narrow", "guest/wide"]
    assert all(pair["plan"] and pair["load_ms"] == 1000.0 for pair in told["pairs"])
    kept = {path: path.stat().st_mtime_ns for path in (server.state / "plans" / "plans").rglob("*") if path.is_file()}
    assert len(kept) == 4
    assert server.end(signal.SIGINT) == (0, "")
    again = start("--prewarm", "none", costs=costs)
    assert planned(again, 2)["plans"] == 4
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert again.request("DELETE", "/actions/narrow")[0] == 200
    assert planned(again, 1) == {"event": "planned", "actions": 1, "models": 1, "plans": 1}
    assert [model["name"] for model in plans_of(again)["models"]] == ["guest/wide"]


def test_a_killed_server_has_lost_no_plan(start: Start, codes: dict[str, str], costs: str) -> None:
    server = start("--prewarm", "none", costs=costs)
    create(server, codes)
    planned(server, 2)
    server.end(signal.SIGKILL)
    assert planned(start("--prewarm", "none", costs=costs), 2)["plans"] == 4


def test_without_costs_nothing_is_planned(start: Start, codes: dict[str, str]) -> None:
    server = start("--prewarm", "none")
    create(server, codes)
    assert server.end(signal.SIGINT) == (0, "")
    assert not (server.state / "plans").exists()


def test_a_profile_that_cannot_be_read_is_refused_before_anything_starts(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    for path, why in ((bad, "a profile is an object"), (tmp_path / "none", "there is no such file")):
        process = launch("--port", "0", "--state", str(tmp_path / "state"), "--costs", str(path))
        out, err = process.communicate(timeout=WAIT_S)
        assert (process.returncode, out) == (1, "")
        assert err.startswith("instar serve: --costs") and why in err
    assert not (tmp_path / "state").exists()


def test_the_model_of_a_package_is_the_one_that_is_planned_with(
    start: Start, codes: dict[str, str], costs: str, tmp_path: Path
) -> None:
    net = torch.nn.Linear(4, 4).eval()
    instar.pack(net, torch.zeros(1, 4), tmp_path / "net")
    server = start("--prewarm", "none", costs=costs)
    code = base64.b64encode(zipped({"__main__.py": HANDLER})).decode()
    body = {
        "exec": {"kind": "pytorch:2", "code": code},
        "parameters": [{"key": "INSTAR_MODEL", "value": str(tmp_path / "net"), "init": True}],
    }
    assert server.request("PUT", "/actions/elsewhere", body)[0] == 200
    planned(server, 1)
    (model,) = plans_of(server)["models"]
    assert model == {"name": "guest/elsewhere", "digest": package.decode(package.read(tmp_path / "net")).digest}
