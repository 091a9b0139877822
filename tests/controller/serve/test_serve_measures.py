"""A server on a machine that nobody has measured has it measured, and answers meanwhile."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from servers import ECHO, WAIT_S, Server

from instar import profiles

Start = Callable[..., Server]


@pytest.fixture
def environ(tmp_path: Path) -> Mapping[str, str]:
    (tmp_path / "scratch").mkdir()
    return {**os.environ, "INSTAR_PROFILES": str(tmp_path / "profiles"), "TMPDIR": str(tmp_path / "scratch")}


def processes_with(variable: str) -> list[str]:
    """The command lines of all processes that have this in their environment."""
    found = []
    for entry in filter(str.isdigit, os.listdir("/proc")):
        try:
            if variable.encode() in Path(f"/proc/{entry}/environ").read_bytes().split(b"\0"):
                found.append(Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue  # it has ended, or is another user's
    return found


@pytest.mark.system
def test_functions_are_called_while_it_is_measured_and_that_ends_with_the_server(
    start: Start, environ: Mapping[str, str], tmp_path: Path
) -> None:
    server = start("--prewarm", "none", environ=environ, costs=None)
    assert server.event("measuring")["device"] == profiles.device_kind()
    server.create("echo", ECHO)
    assert server.start_of("echo") == "cold"
    assert server.start_of("echo") == "warm"
    variable = f"TMPDIR={tmp_path / 'scratch'}"
    assert any("instar_controller.clients.measuring" in process for process in processes_with(variable))
    assert server.end(signal.SIGINT) == (0, "")
    until_s = time.monotonic() + WAIT_S
    while left := processes_with(variable):  # it hears of it by its standard input, and lets every other go first
        assert time.monotonic() < until_s, left
        time.sleep(0.05)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_when_it_is_measured_plans_are_made_with_it(start: Start, environ: Mapping[str, str], tmp_path: Path) -> None:
    server = start("--prewarm", "none", environ=environ, costs=None)
    server.event("measuring", wait_s=60)
    print(server.event("measured", wait_s=500)["held_out"])
    server.event("planned")
    found = profiles.find(tmp_path / "profiles", profiles.device_kind())
    assert found is not None
    assert found.costs.rates_ns
    server.end(signal.SIGINT)
    again = start("--prewarm", "none", environ=environ, costs=None)
    again.event("planned")  # and nothing is measured before
    assert server.process.returncode == 0
