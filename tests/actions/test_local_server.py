"""The server that the demonstration starts: it answers, tells how containers start, and leaves nothing behind."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from actions.local import ServeError, serving

from actions import build

pytestmark = pytest.mark.system
HELLO = build.HERE / "hello" / "hello.py"


def processes_in(folder: Path) -> list[str]:
    """The command lines that name a folder."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue  # ended meanwhile
        if str(folder) in command:
            found.append(command)
    return found


def test_an_action_starts_cold_then_warm_and_the_server_ends_with_its_containers(tmp_path: Path) -> None:
    with serving(tmp_path, "--costs", "none", prewarm=["none"], memory_mb=1024, keep_alive_s=60) as server:
        server.create("hello", HELLO, kind="python:3", memory_mb=256)
        first = server.invoke("hello", {"name": "Ada"})
        second = server.invoke("hello", {"name": "Grace"})
        assert processes_in(tmp_path)
    assert (first.start, second.start) == ("cold", "warm")
    assert (first.result, second.result) == ({"greeting": "Hello, Ada!"}, {"greeting": "Hello, Grace!"})
    assert "initTime" in first.times_ms
    assert "initTime" not in second.times_ms
    assert processes_in(tmp_path) == []


def test_an_error_of_the_server_is_raised_with_its_text(tmp_path: Path) -> None:
    with (
        serving(tmp_path, "--costs", "none", prewarm=["none"], memory_mb=1024, keep_alive_s=60) as server,
        pytest.raises(ServeError, match="404 The requested resource does not exist"),
    ):
        server.invoke("nobody", {})


def test_a_server_that_cannot_start_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file where a folder should be")
    with (
        pytest.raises(ServeError, match="instar serve ended with status 1"),
        serving(tmp_path, "--costs", "none", prewarm=["none"], memory_mb=1024, keep_alive_s=60),
    ):
        pass
