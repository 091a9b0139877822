"""`instar pack`, `inspect` and `run`, as a person or a script calls them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
import torch

from instar.commands import inputs
from instar.commands.main import main
from instar.errors import PackError
from tests.packages.modules import convolutional

MODEL = "tests.packages.modules:convolutional"
INPUT = "x=float32[batch:1..8,3,8,8]"
Capture = pytest.CaptureFixture[str]


def test_pack_inspect_and_run_tell_the_same_model(tmp_path: Path, capsys: Capture) -> None:
    target = str(tmp_path / "m")
    assert main(["pack", MODEL, "--kwargs", '{"seed": 3}', "--input", INPUT, "-o", target, "--json"]) == 0
    packed = json.loads(capsys.readouterr().out)
    assert main(["inspect", target, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["model"] == packed["digest"] and shown["inputs"] == {"x": "float32[batch,3,8,8]"}
    assert shown["operators"]["aten.conv2d.default"] == 1 and shown["dims"] == {"batch": [1, 8]}
    x = numpy.random.default_rng(0).standard_normal((2, 3, 8, 8)).astype("float32")
    numpy.save(tmp_path / "x.npy", x)
    answer = tmp_path / "y.npy"
    arguments = [
        "run",
        target,
        "--input",
        f"x={tmp_path / 'x.npy'}",
        "--output",
        str(answer),
        "--store",
        str(tmp_path / "s"),
    ]
    assert main(arguments) == 0
    with torch.inference_mode():
        expected = convolutional(seed=3).eval()(torch.from_numpy(x))
    assert torch.equal(expected, torch.from_numpy(numpy.load(answer)))
    assert "output: float32[2, 5]" in capsys.readouterr().out


def test_pack_shows_a_progress_bar_on_standard_error_only(tmp_path: Path, capsys: Capture) -> None:
    assert main(["pack", MODEL, "--input", INPUT, "-o", str(tmp_path / "m")]) == 0
    captured = capsys.readouterr()
    assert "write" in captured.err
    assert "float32[batch,3,8,8]" in captured.out


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["no_such_module:f", "--input", INPUT], "cannot be imported"),
        (["tests.packages.modules:nothing", "--input", INPUT], "has no 'nothing'"),
        (["tests.packages.modules:broken", "--input", INPUT], "no such checkpoint"),
        (["tests.packages.modules:Path", "--input", INPUT], "has no 'Path'"),
        (["just-a-word", "--input", INPUT], "neither MODULE:CALLABLE"),
        (["missing.pt2"], "cannot be read"),
        ([MODEL], "add --input"),
        ([MODEL, "--kwargs", "[1]", "--input", INPUT], "JSON object"),
        ([MODEL, "--kwargs", "{", "--input", INPUT], "not JSON"),
        ([MODEL, "--input", "y=float32[1,3,8,8]"], "not the parameters of forward"),
        ([MODEL, "--input", "x=float32[inf,3,8,8]"], "no bounds"),
        ([MODEL, "--input", "x=float32[1e9,3,8,8]"], "finite"),
        ([MODEL, "--input", "x=float99[1,3,8,8]"], "unknown dtype"),
        ([MODEL, "--input", "x:float32"], "is not NAME=DTYPE"),
    ],
)
def test_a_wrong_call_is_one_clear_line_and_leaves_nothing(
    arguments: list[str], reason: str, tmp_path: Path, capsys: Capture
) -> None:
    assert main(["pack", *arguments, "-o", str(tmp_path / "m")]) == 1
    error = capsys.readouterr().err.splitlines()[-1].strip()  # what is before it is the progress bar
    assert reason in error and error.startswith("instar pack: ")
    assert not (tmp_path / "m").exists()


def test_run_and_inspect_explain_what_is_missing(tmp_path: Path, capsys: Capture) -> None:
    assert main(["inspect", str(tmp_path)]) == 1
    assert "a model package?" in capsys.readouterr().err
    assert main(["run", str(tmp_path), "--input", "x=nothing.npy"]) == 1
    assert "no readable .npy file" in capsys.readouterr().err


def test_an_input_is_read_with_its_bounds() -> None:
    declared = [inputs.parse("a=int64[n:1..8, m:2..4]"), inputs.parse("b=float32[n,3]"), inputs.parse("c=bool[]")]
    assert inputs.bounds(declared) == {"n": (1, 8), "m": (2, 4)}
    assert declared[1].dynamic == {0: "n"} and declared[2].shape == ()
    with pytest.raises(PackError, match="give them once"):
        inputs.bounds([*declared, inputs.parse("d=int64[n:1..9]")])
