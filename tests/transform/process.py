"""What this process holds of the system: what must be the same before and after a transformation that failed."""

from __future__ import annotations

import gc
import os
import threading
from dataclasses import dataclass
from pathlib import Path

SPACE_BYTES = 1 << 29  # what no other part of a process reserves at once


@dataclass(frozen=True, slots=True)
class Held:
    """Counts; `spaces` are reserved addresses."""

    descriptors: int
    files_mapped: int
    spaces: int
    fetching: int


def held_before(root: Path) -> Held:
    """What is held before a test begins, without what earlier ones have left to be collected."""
    gc.collect()
    return held(root)


def held(root: Path) -> Held:
    """What is held at this moment of the files below `root`, and otherwise."""
    files = spaces = 0
    for region in regions():
        files += region.path.startswith(str(root))
        spaces += region.permissions == "---p" and region.end - region.start >= SPACE_BYTES
    fetching = sum(thread.name == "instar-fetch" for thread in threading.enumerate())
    return Held(len(os.listdir("/proc/self/fd")), files, spaces, fetching)


@dataclass(frozen=True, slots=True)
class Region:
    """A line of /proc/PID/maps."""

    start: int
    end: int
    permissions: str
    path: str


def regions(pid: int | str = "self") -> list[Region]:
    found = []
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        addresses, permissions, _, _, _, *path = line.split(maxsplit=5)
        start, end = (int(address, 16) for address in addresses.split("-"))
        found.append(Region(start, end, permissions, path[0] if path else ""))
    return found
