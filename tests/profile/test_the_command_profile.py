"""`instar profile` measures, keeps the profile where it is looked for, and says how good it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instar import profiles
from instar.commands.main import main
from instar.executor.profiling import survey
from instar.executor.profiling.survey import Survey


@pytest.fixture(autouse=True)
def is_quick(tiny: Survey, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(survey, "THOROUGH", tiny)


def test_the_profile_is_kept_where_the_planner_looks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("INSTAR_PROFILES", str(tmp_path / "profiles"))
    assert main(["profile", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    found = profiles.find(tmp_path / "profiles", profiles.device_kind())
    assert found is not None and found == profiles.read(Path(told["file"]))
    assert told["device"] == profiles.device_kind()
    assert told["rates_ns"] == dict(found.costs.rates_ns)


def test_the_folder_may_be_named_and_what_was_measured_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["profile", "--out", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert profiles.device_kind() in out and "held out" in out and "within 30 %" in out
    assert str(profiles.place(tmp_path, profiles.device_kind())) in out


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert main(["profile", "--out", str(tmp_path / "file")]) == 1
    err = capsys.readouterr().err
    assert err.startswith("instar profile: ") and len(err.splitlines()) == 1
