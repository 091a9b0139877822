"""Through `instar serve` an idle container becomes the function that needs one, and answers as after a fresh load."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import two_nets
from servers import Server, annotations
from two_nets import Sample

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    return two_nets.samples(tmp_path_factory.mktemp("models"))


def serve(start: Callable[..., Server], samples: dict[str, Sample], tmp_path: Path, *options: str) -> Server:
    """With both actions, and plans between them."""
    server = start("--prewarm", "none", *options, costs=str(two_nets.write_profile(tmp_path)))
    for name, sample in samples.items():
        code = base64.b64encode(sample.code).decode()
        body = {"exec": {"kind": "pytorch:2", "code": code}, "limits": {"memory": 256}}
        assert server.request("PUT", f"/actions/{name}", body)[0] == 200
    while server.event("planned")["plans"] < 4:
        pass
    return server


def called(server: Server, samples: dict[str, Sample], name: str, x: int) -> dict[str, Any]:
    """What the record says of a start, whose answer is the plain net's."""
    status, activation = server.invoke(name, {"x": x})
    assert status == 200, activation["response"]
    server.record(activation["activationId"])  # it is stored when the container's log is read: then that one is idle
    assert activation["response"]["result"]["values"] == samples[name].answer(x)
    note: dict[str, Any] = annotations(activation)["instar"]
    return note


def test_an_idle_container_becomes_each_function_that_needs_one(
    start: Callable[..., Server], samples: dict[str, Sample], tmp_path: Path
) -> None:
    server = serve(start, samples, tmp_path, "--idle-threshold", "0")
    assert called(server, samples, "narrow", 1)["start"] == "cold"
    for turn, (name, other) in enumerate([("wide", "narrow"), ("narrow", "wide"), ("wide", "narrow")]):
        note = called(server, samples, name, turn)
        assert (note["start"], note["from"], note["how"]) == ("transformed", f"guest/{other}", "transformed")
        assert called(server, samples, name, turn + 1)["start"] == "warm"


def test_a_container_that_is_not_idle_for_long_enough_stays_what_it_is(
    start: Callable[..., Server], samples: dict[str, Sample], tmp_path: Path
) -> None:
    server = serve(start, samples, tmp_path)
    assert called(server, samples, "narrow", 1)["start"] == "cold"
    assert called(server, samples, "wide", 1)["start"] == "cold"
    assert called(server, samples, "narrow", 2)["start"] == "warm"
