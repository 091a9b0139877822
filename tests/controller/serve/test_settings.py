"""What the command line says, as settings; and the defaults that are promised."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from instar import profiles
from instar.plan.costs import Costs
from instar.plan.fit import Error
from instar.profiles import Profile
from instar_controller import settings
from instar_controller.errors import SettingsError
from instar_controller.policies.donors import Sharing
from instar_controller.policies.idle import Patience
from instar_controller.policies.prewarm import StemCells
from instar_controller.settings import PlanningSettings


def make(**changed: object) -> settings.ServeSettings:
    usual: dict[str, object] = {
        "host": "127.0.0.1",
        "port": 3233,
        "memory_mb": 2048,
        "keep_alive_s": 610.0,
        "stem_cells": [],
    }
    return settings.make(Path("/state"), **{**usual, **changed})  # type: ignore[arg-type]


def test_the_promised_defaults() -> None:
    chosen = settings.ServeSettings(Path("/state"))
    assert (chosen.http.host, chosen.http.port) == ("127.0.0.1", 3233)
    assert (chosen.pool.memory_mb, chosen.pool.patience.keep_alive_s, chosen.pool.starts_at_once) == (2048, 610.0, 2)
    assert settings.parse_stem_cells([], memory_mb=2048) == [
        StemCells("pytorch:2", 256, 1),
        StemCells("python:3", 256, 1),
    ]


def test_state_lives_where_the_platform_keeps_it() -> None:
    assert settings.default_state({"XDG_STATE_HOME": "/s", "HOME": "/h"}) == Path("/s/instar")
    assert settings.default_state({"HOME": "/h"}) == Path("/h/.local/state/instar")


@pytest.mark.parametrize(
    ("host", "address"), [("localhost", "127.0.0.1"), ("127.0.0.2", "127.0.0.2"), ("::1", "::1")]
)
def test_a_loopback_address_is_taken(host: str, address: str) -> None:
    assert make(host=host).http.host == address


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])
def test_any_other_address_is_refused(host: str) -> None:
    with pytest.raises(SettingsError, match="is no loopback address"):
        make(host=host)


def test_stem_cells_are_named_by_kind_memory_and_count() -> None:
    assert settings.parse_stem_cells(["pytorch:2:512:2", "python:default:128:1"], memory_mb=2048) == [
        StemCells("pytorch:2", 512, 2),
        StemCells("python:3", 128, 1),
    ]
    assert settings.parse_stem_cells(["none"], memory_mb=2048) == []


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("pytorch:2", "write KIND:MEMORY:COUNT"),
        ("pytorch:2:256", "write KIND:MEMORY:COUNT"),
        ("pytorch:2:256:-1", "write KIND:MEMORY:COUNT"),
        ("nodejs:20:256:1", "there is no kind 'nodejs:20'; .* a kind is one of pytorch:2, python:3"),
    ],
)
def test_stem_cells_that_make_no_sense_are_refused(text: str, wrong: str) -> None:
    with pytest.raises(SettingsError, match=wrong):
        settings.parse_stem_cells([text], memory_mb=2048)


def test_stem_cells_larger_than_the_pool_are_refused() -> None:
    with pytest.raises(SettingsError, match="more than the 2048 MB of all containers together"):
        make(stem_cells=[StemCells("python:3", 4096, 1)])


def test_weights_are_kept_where_the_node_keeps_them_unless_told_otherwise() -> None:
    environment = {"HOME": "/h", "INSTAR_STORE": "/srv/weights"}
    assert settings.store_folder(None, environment) == Path("/srv/weights")
    assert settings.store_folder(None, {"HOME": "/h"}) == Path("/h/.cache/instar")
    assert settings.store_folder("elsewhere", environment) == Path("elsewhere")
    assert settings.store_folder("none", environment) is None
    assert make(store=Path("~/weights")).store == Path("~/weights").expanduser()
    assert make().store is None


def test_state_in_a_relative_directory_is_found_from_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    chosen = settings.make(Path("state"), host="::1", port=0, memory_mb=2048, keep_alive_s=0, stem_cells=[])
    assert chosen.state == Path("/usr/state")


def test_an_action_may_use_the_whole_pool() -> None:
    assert make(memory_mb=4096).limits.memory_mb.most == 4096
    assert make(memory_mb=128).limits.memory_mb.default == 128


def docker(network: str | None = None, pause_grace_s: float | None = None) -> settings.DockerSettings | None:
    return settings.docker_settings("docker", network=network, pause_grace_s=pause_grace_s)


def test_processes_are_the_default_and_are_not_paused() -> None:
    chosen = make(docker=settings.docker_settings("process", network=None, pause_grace_s=None))
    assert (chosen.docker, chosen.pool.patience) == (None, Patience(610.0, None))


def test_docker_containers_are_paused_after_ten_seconds_on_the_usual_network() -> None:
    assert docker() == settings.DockerSettings("bridge", 10.0)
    assert make(docker=docker()).pool.patience == Patience(610.0, 10.0)
    assert make(docker=docker(pause_grace_s=0.0)).pool.patience == Patience(610.0, 0.0)


@pytest.mark.parametrize("option", [{"network": "actions"}, {"pause_grace_s": 5.0}], ids=str)
def test_what_only_docker_has_is_refused_for_processes(option: dict[str, Any]) -> None:
    given = {"network": None, "pause_grace_s": None, **option}
    with pytest.raises(SettingsError, match="only containers of Docker have that; add --containers docker"):
        settings.docker_settings("process", **given)


@pytest.mark.parametrize("network", ["host", "none", "", "container:other"])
def test_a_network_without_addresses_is_refused(network: str) -> None:
    with pytest.raises(SettingsError, match="gives containers no address of their own"):
        docker(network=network)


def test_a_grace_that_is_no_time_is_refused() -> None:
    for grace_s in (-1.0, float("nan")):
        with pytest.raises(SettingsError, match=r"--pause-grace .* is no number of seconds"):
            docker(pause_grace_s=grace_s)


def manifest_file(folder: Path, document: object) -> Path:
    path = folder / "runtimes.json"
    path.write_text(json.dumps(document))
    return path


def test_a_manifest_of_ones_own_brings_its_kinds_and_its_stem_cells(tmp_path: Path) -> None:
    kind = {"kind": "nodejs:20", "image": {"name": "nodejs"}, "stemCells": [{"initialCount": 2, "memory": "128 MB"}]}
    path = manifest_file(tmp_path, {"runtimes": {"nodejs": [kind]}})
    manifest = settings.read_manifest(path, containers="docker")
    assert [kind.image for kind in manifest.kinds] == ["nodejs"]
    assert settings.parse_stem_cells([], memory_mb=2048, manifest=manifest) == [StemCells("nodejs:20", 128, 2)]


def test_kinds_without_sentinels_are_told_to_whoever_reads_logs(tmp_path: Path) -> None:
    kind = {"kind": "nodejs:20", "image": {"name": "nodejs"}, "sentinelledLogs": False}
    manifest = settings.read_manifest(manifest_file(tmp_path, {"runtimes": {"nodejs": [kind]}}), containers="docker")
    assert make(manifest=manifest).engine.unmarked_kinds == {"nodejs:20"}


def test_the_manifest_that_is_deployed_can_be_served() -> None:
    manifest = settings.read_manifest(Path(__file__).parents[3] / "deploy" / "runtimes.json", containers="docker")
    found = manifest.resolve("pytorch:2")
    assert found is not None and found.image == "instar/action-pytorch:2"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [("{", "runtimes.json: "), ("[]", "a runtimes manifest is an object"), ("\xff", "runtimes.json")],
)
def test_a_file_that_is_no_manifest_is_refused(tmp_path: Path, text: str, wrong: str) -> None:
    (tmp_path / "runtimes.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(SettingsError, match=wrong):
        settings.read_manifest(tmp_path / "runtimes.json", containers="docker")


def test_a_manifest_that_is_not_there_or_not_needed_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        settings.read_manifest(tmp_path / "none.json", containers="docker")
    with pytest.raises(SettingsError, match="a manifest names images; add --containers docker"):
        settings.read_manifest(tmp_path / "none.json", containers="process")


def test_a_container_is_shared_after_a_minute_and_within_its_namespace_unless_told_otherwise() -> None:
    assert make().pool.sharing == Sharing(idle_threshold_s=60.0, share_across_namespaces=False)
    told = settings.sharing_of(5.0, share_across_namespaces=True)
    assert make(sharing=told).pool.sharing == Sharing(idle_threshold_s=5.0, share_across_namespaces=True)


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_an_idle_threshold_that_is_no_time_is_refused(seconds: float) -> None:
    with pytest.raises(SettingsError, match=r"--idle-threshold .* is no number of seconds"):
        settings.sharing_of(seconds, share_across_namespaces=False)


def test_costs_are_those_of_this_machine_unless_a_profile_or_none_is_named(tmp_path: Path) -> None:
    error = Error(1, 0.1, 0.2, 0.9)
    costs = Costs("another machine", {"load": 1.5})
    named = tmp_path / "profile"
    named.write_bytes(profiles.encode(Profile(costs, error, error, "a test")))
    environment = {"INSTAR_PROFILES": "/profiles"}
    assert settings.planning_of(None, environment) == PlanningSettings(Path("/profiles"))
    assert settings.planning_of(None, {"HOME": "/h"}) == PlanningSettings(Path("/h/.cache/instar/profiles"))
    assert settings.planning_of("none", environment) is None
    assert settings.planning_of(str(named), environment) == PlanningSettings(Path("/profiles"), costs)


def test_costs_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for name, why in (("empty", "not even JSON"), ("missing", "there is no such file")):
        with pytest.raises(SettingsError, match=why):
            settings.planning_of(str(tmp_path / name), {})
