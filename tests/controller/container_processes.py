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
    return [pid for pid in below(folder) if _name(pid) in ("instar-spare", "instar-reaper")]


def leader(folder: Path) -> int:
    """The first process of the container that works in `folder`."""
    return next(pid for pid in below(folder) if _group(pid) == pid)


def named(folder: Path, name: str) -> int:
    """The only process of that name among the containers that work below `folder`."""
    (pid,) = [pid for pid in below(folder) if _name(pid) == name]
    return pid


def _name(pid: int) -> str | None:
    """None if it has ended while we looked."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return None


def _group(pid: int) -> int | None:
    """None if it has ended while we looked."""
    with contextlib.suppress(OSError):
        return os.getpgid(pid)
    return None
