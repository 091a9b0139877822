"""What the command line says, as settings; and the defaults that are promised."""

from __future__ import annotations

from pathlib import Path

import pytest

from instar_controller import settings
from instar_controller.errors import SettingsError
from instar_controller.policies.prewarm import StemCells


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


def test_state_in_a_relative_directory_is_found_from_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/usr")
    chosen = settings.make(Path("state"), host="::1", port=0, memory_mb=2048, keep_alive_s=0, stem_cells=[])
    assert chosen.state == Path("/usr/state")


def test_an_action_may_use_the_whole_pool() -> None:
    assert make(memory_mb=4096).limits.memory_mb.most == 4096
    assert make(memory_mb=128).limits.memory_mb.default == 128
