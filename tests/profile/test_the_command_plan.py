"""`instar plan A B` tells what a plan is made of, what it takes, and why it is carried out or not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from instar import profiles
from instar.commands.main import main
from instar.executor.profiling import architectures, subjects
from instar.plan.costs import Costs
from instar.plan.fit import Error
from instar.profiles import Profile
from instar.weights.store import Store

ERROR = Error(1, 0.0, 0.0, 1.0)


@pytest.fixture
def small(tmp_path: Path, store: Store) -> Path:
    return subjects.make("small", architectures.residual(2, 4), tmp_path / "small", store, seed=1).folder


@pytest.fixture
def deep(tmp_path: Path, store: Store) -> Path:
    return subjects.make("deep", architectures.residual(3, 4), tmp_path / "deep", store, seed=1).folder


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of profiles, still empty."""
    monkeypatch.setenv("INSTAR_PROFILES", str(tmp_path / "profiles"))
    return tmp_path / "profiles"


def write(folder: Path, device: str, **rates: float) -> Path:
    return profiles.write(folder, Profile(Costs(device, rates), ERROR, ERROR, "made up"))


def told(capsys: pytest.CaptureFixture[str], *words: str | Path) -> dict[str, object]:
    assert main(["plan", *map(str, words), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert isinstance(found, dict)
    return found


def test_operators_are_matched_by_kind_of_step_and_bytes_add_up(
    small: Path, deep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, small, deep)
    target, steps, operators, moved = (found[name] for name in ("target", "steps", "operators", "bytes"))
    assert isinstance(target, dict) and isinstance(steps, dict) and isinstance(operators, dict)
    assert isinstance(moved, dict)
    assert sum(steps.get(kind, 0) for kind in ("replace", "reshape", "add")) == target["operators"]
    assert steps["edge"] == 1
    assert operators["aten.conv2d.default"]["add"] > 0
    assert moved["kept"] + moved["moved"] == target["bytes"]
    assert found["proven"] is True


def test_a_model_becomes_itself_by_replacements_that_move_nothing(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, small, small)
    assert list(found["steps"]) == ["replace"]  # type: ignore[call-overload]
    assert found["bytes"]["moved"] == found["views"]["new"] == 0  # type: ignore[index]


def test_without_a_profile_there_are_steps_and_the_way_to_one(
    small: Path, deep: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = told(capsys, small, deep)
    assert found["estimate"] is None and found["decision"] is None
    assert main(["plan", str(small), str(deep)]) == 0
    assert "`instar profile` makes one" in capsys.readouterr().out


def test_the_profile_of_this_device_decides(
    small: Path, deep: Path, kept: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(kept, profiles.device_kind(), transform=1e6, load=2e6)
    found = told(capsys, small, deep)
    assert found["decision"] == "transform"
    assert found["estimate"] == {
        "device": profiles.device_kind(),
        "transform_ms": 1.0,
        "load_ms": 2.0,
        "transform": {"transform": 1.0},
        "load": {"load": 2.0},
    }


def test_another_devices_costs_may_be_named_and_the_reason_is_said(
    small: Path, deep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(tmp_path, "another device", transform=3e6, load=2e6)
    found = told(capsys, small, deep, "--costs", other)
    assert found["decision"] == "load"
    assert "no slower on another device" in str(found["reason"])
    assert main(["plan", str(small), str(deep), "--costs", str(other)]) == 0
    out = capsys.readouterr().out
    assert "transform   3.000 ms: transform 3.000" in out and "decision    load: " in out


def test_an_actions_archive_with_one_package_is_as_good_as_a_folder(
    small: Path, deep: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "__main__.py").write_text("def main(args): return {}\n")
    archive = shutil.make_archive(str(tmp_path / "action"), "zip", small)
    assert told(capsys, archive, deep) == told(capsys, small, deep)


def test_what_cannot_be_read_is_one_line_that_names_it(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "rubbish").write_bytes(b"PK\x03\x04 and no more")
    (tmp_path / "code.py").write_text("def main(args): return {}\n")
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "model.json").write_text("{}")
    for name in ("empty", "rubbish", "code.py", "damaged", "missing"):
        assert main(["plan", str(small), str(tmp_path / name)]) == 1
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith("instar plan: ") and len(captured.err.splitlines()) == 1
        assert str(tmp_path / name) in captured.err
    assert main(["plan", str(small), str(small), "--costs", str(tmp_path / "missing")]) == 1
    assert "`instar profile` makes one" in capsys.readouterr().err
