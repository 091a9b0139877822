"""Containers are asked for as OpenWhisk's Docker factory asks for them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from worlds import function

from instar_controller.clients.docker import arguments
from instar_controller.clients.docker.arguments import Plan, Request
from instar_controller.policies.snapshot import ContainerId
from instar_controller.whisk.values import JsonObject

PLAN = Plan(
    owner="0123456789abcdef",
    network="actions",
    pool_memory_mb=2048,
    environment={"__OW_API_HOST": "https://api.example", "__OW_ALLOW_CONCURRENT": "false"},
    images={"python:3": "instar/action-pytorch:2", "nodejs:20": "openwhisk/action-nodejs-v20:nightly"},
)


def request(memory_mb: int = 256, kind: str = "python:3") -> Request:
    return Request(ContainerId("c7"), kind, memory_mb, function("ml/classify", namespace="guest"))


def test_a_container_has_the_stock_limits_and_the_label_of_its_server() -> None:
    assert arguments.creation(PLAN, request()) == {
        "Image": "instar/action-pytorch:2",
        "Env": ["__OW_API_HOST=https://api.example", "__OW_ALLOW_CONCURRENT=false"],
        "Labels": {"instar.serve": "0123456789abcdef"},
        "HostConfig": {
            "CpuShares": 128,
            "Memory": 256 << 20,
            "MemorySwap": 256 << 20,
            "NetworkMode": "actions",
            "CapDrop": ["NET_RAW", "NET_ADMIN"],
            "Ulimits": [{"Name": "nofile", "Soft": 1024, "Hard": 1024}],
            "PidsLimit": 1024,
            "LogConfig": {"Type": "json-file", "Config": {}},
        },
    }


def test_the_image_is_that_of_the_kind() -> None:
    assert arguments.creation(PLAN, request(kind="nodejs:20"))["Image"] == "openwhisk/action-nodejs-v20:nightly"


@pytest.mark.parametrize(
    ("memory_mb", "pool_memory_mb", "shares"),
    [
        (256, 2048, 128),
        (300, 2048, 170),
        (1500, 2048, 1024),
        (2048, 2048, 1024),
        (128, 1_000_000, 2),
        (256, 128, 1024),
    ],
)
def test_processor_shares_follow_memory_rounded_as_stock(memory_mb: int, pool_memory_mb: int, shares: int) -> None:
    assert arguments.cpu_shares(memory_mb, pool_memory_mb=pool_memory_mb) == shares


def test_names_tell_whose_container_it_is() -> None:
    assert arguments.name(PLAN, request()) == "wskinstar012345670_c7_guest_classify"
    cell = Request(ContainerId("c8"), "python:3", 256, key=None)
    assert arguments.name(PLAN, cell) == "wskinstar012345670_c8_prewarm_python3"


def test_a_name_has_only_characters_that_docker_takes() -> None:
    key = function("päck/a @-.ction", namespace="some one@example.org")
    name = arguments.name(PLAN, Request(ContainerId("c9"), "python:3", 256, key))
    assert name == "wskinstar012345670_c9_someoneexampleorg_action"
    assert re.fullmatch(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", name)


def test_a_server_is_the_same_after_a_restart_and_another_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "a")
    first = arguments.owner_of(tmp_path / "a")
    assert arguments.owner_of(tmp_path / "link") == first
    assert arguments.owner_of(tmp_path / "b") != first
    assert re.fullmatch(r"[0-9a-f]{16}", first)


def test_the_nodes_weights_are_mounted_to_be_read_where_an_image_looks_for_them() -> None:
    given = replace(PLAN, store=Path("/srv/weights"), stores={"instar/action-pytorch:2": "/closed/store"})
    ours, stock = (arguments.creation(given, request(kind=kind)) for kind in ("python:3", "nodejs:20"))
    mount = {"Type": "bind", "Source": "/srv/weights", "Target": "/closed/store", "ReadOnly": True}
    plain = arguments.creation(PLAN, request())
    environment = ["__OW_API_HOST=https://api.example", "__OW_ALLOW_CONCURRENT=false", "INSTAR_STORE=/closed/store"]
    assert ours == {**plain, "Env": environment, "HostConfig": {**host_config(plain), "Mounts": [mount]}}
    assert stock == arguments.creation(PLAN, request(kind="nodejs:20"))


def test_only_a_container_of_instars_has_a_token_and_it_is_its_own() -> None:
    ours = replace(PLAN, stores={"instar/action-pytorch:2": "/closed/store"})
    assert (arguments.is_instars(ours, "python:3"), arguments.is_instars(ours, "nodejs:20")) == (True, False)
    plain, with_token = (arguments.creation(ours, replace(request(), token=token)) for token in (None, "a token"))
    environment = ["__OW_API_HOST=https://api.example", "__OW_ALLOW_CONCURRENT=false"]
    assert plain["Env"] == environment
    assert with_token == {**plain, "Env": [*environment, "INSTAR_TOKEN=a token"]}


def test_without_a_store_an_image_of_instars_has_no_weights_mounted() -> None:
    ours = replace(PLAN, stores={"instar/action-pytorch:2": "/closed/store"})
    assert arguments.creation(ours, request()) == arguments.creation(PLAN, request())


def test_a_token_is_in_no_line_of_a_log() -> None:
    assert "a token" not in repr(replace(request(), token="a token"))


def host_config(creation: JsonObject) -> JsonObject:
    found = creation["HostConfig"]
    assert isinstance(found, dict)
    return found
