"""Which processes of this machine belong to containers, by the mark in their environment."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from instar_controller.clients.process import MARK


def below(folder: Path) -> list[int]:
    """The pids of every process of every container that works below `folder`."""
    mark = f"{MARK}={folder}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):  # it ended while we looked
                environment = (entry / "environ").read_bytes().split(b"\0")
                if any(variable.startswith(mark) for variable in environment):
                    found.append(int(entry.name))
    return found


def spares(folder: Path) -> list[int]:
    """Those that wait to be told what to do; they come in idle moments."""
    found = []
    for pid in below(folder):
        with contextlib.suppress(OSError):
            if Path(f"/proc/{pid}/comm").read_text().strip() in ("instar-spare", "instar-reaper"):
                found.append(pid)
    return found


def leader(folder: Path) -> int:
    """The first process of the container that works in `folder`."""
    return next(pid for pid in below(folder) if os.getpgid(pid) == pid)


def named(folder: Path, name: str) -> int:
    """The only process of that name among the containers that work below `folder`."""
    (pid,) = [pid for pid in below(folder) if Path(f"/proc/{pid}/comm").read_text().strip() == name]
    return pid
