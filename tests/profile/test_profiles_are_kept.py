"""A profile comes back from its file as it was written, for its kind of device only, or a clear error does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from instar import profiles
from instar.errors import PlanError
from instar.plan.costs import Costs
from instar.plan.fit import Error
from instar.profiles import Profile

PROFILE = Profile(
    Costs("a processor, 2 threads", {"transform": 123456.7, "mapped byte": 0.00025}),
    error=Error(40, 0.05, 0.2, 0.95),
    held_out=Error(10, 0.06, 0.25, 0.9),
    measured_on="a laptop",
)


def test_a_profile_is_found_as_it_was_written(tmp_path: Path) -> None:
    path = profiles.write(tmp_path / "new", PROFILE)
    assert path.parent == tmp_path / "new"
    assert profiles.find(tmp_path / "new", PROFILE.costs.device) == PROFILE
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_nothing_is_found_for_another_kind_of_device_or_where_there_is_no_folder(tmp_path: Path) -> None:
    profiles.write(tmp_path, PROFILE)
    assert profiles.find(tmp_path, "another processor") is None
    assert profiles.find(tmp_path / "none", PROFILE.costs.device) is None


def test_a_new_profile_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    newer = Profile(Costs(PROFILE.costs.device, {}), PROFILE.error, PROFILE.held_out, "later")
    assert profiles.write(tmp_path, PROFILE) == profiles.write(tmp_path, newer)
    assert profiles.find(tmp_path, PROFILE.costs.device) == newer


def test_a_file_under_another_devices_name_is_refused(tmp_path: Path) -> None:
    profiles.write(tmp_path, PROFILE).rename(profiles.place(tmp_path, "another"))
    with pytest.raises(PlanError, match="not of 'another'"):
        profiles.find(tmp_path, "another")


@pytest.mark.parametrize(
    "change",
    [
        {"format": "something"},
        {"version": profiles.VERSION + 1},
        {"device": 3},
        {"rates_ns": {"load": -1}},
        {"rates_ns": {"load": True}},
        {"rates_ns": ["load"]},
        {"error": {"samples": 1}},
        {"held_out": None},
        {"more": 1},
    ],
)
def test_whatever_encode_cannot_have_written_is_refused_with_the_way_out(
    change: dict[str, object], tmp_path: Path
) -> None:
    path = profiles.write(tmp_path, PROFILE)
    path.write_text(json.dumps({**json.loads(path.read_bytes()), **change}))
    with pytest.raises(PlanError, match="instar profile"):
        profiles.find(tmp_path, PROFILE.costs.device)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b'{"rates_ns": NaN}', b"[" * 100_000, b" " * 2**21])
def test_bytes_that_are_no_profile_are_refused(data: bytes) -> None:
    with pytest.raises(PlanError, match="instar profile"):
        profiles.decode(data)


def test_a_folder_that_cannot_be_written_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(PlanError, match="INSTAR_PROFILES"):
        profiles.write(tmp_path / "file", PROFILE)


def test_the_folder_is_what_the_environment_says() -> None:
    assert profiles.folder({"INSTAR_PROFILES": "/a"}) == Path("/a")
    assert profiles.folder({"INSTAR_STORE": "/b"}) == Path("/b/profiles")


def test_the_kind_of_this_device_is_the_same_each_time_and_names_torchs_release() -> None:
    assert profiles.device_kind() == profiles.device_kind()
    assert "torch 2." in profiles.device_kind()
