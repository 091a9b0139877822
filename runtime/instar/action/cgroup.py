"""What the control group of this process allows, which is what a container engine said of the container.

The rule: no file, no limit. Version 1 and version 2 are read, the group and what is above it, for the least counts;
inside a container only its own group can be seen, mounted as if it were the root.

Nothing is changed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

ROOT = Path("/sys/fs/cgroup")
UNLIMITED_BYTES = 1 << 60  # version 1 has no word for it, but a number beyond any memory


@dataclass(frozen=True, slots=True)
class Figure:
    """Where a controller states something: its name, and the file in version 1 and in version 2."""

    controller: str
    file_v1: str
    file_v2: str


MEMORY = Figure("memory", "memory.limit_in_bytes", "memory.max")
PROCESSES = Figure("pids", "pids.max", "pids.max")
# Anonymous and shared memory; what else is charged to a group, the kernel takes back when it needs it.
HELD = {"anon", "shmem", "total_rss", "total_shmem"}


def memory_bytes() -> int | None:
    """The most memory that the container may have, if that is limited."""
    return _least(MEMORY)


def processes() -> int | None:
    """The most processes and threads that the container may have, if that is limited."""
    return _least(PROCESSES)


def held_bytes() -> int:
    """Memory of the container that the kernel cannot take back; 0 where it is not known."""
    for folder in _folders("memory"):
        text = _read(folder / "memory.stat")
        if text is not None:
            return parse_held(text)
    return 0


def parse_limit(text: str) -> int | None:
    """What a file of a limit says: a number, or `None` for none."""
    text = text.strip()
    if not text.isdigit() or int(text) >= UNLIMITED_BYTES:
        return None
    return int(text)


def parse_held(text: str) -> int:
    """What `memory.stat` says, in bytes."""
    lines = (line.split() for line in text.splitlines())
    return sum(int(fields[1]) for fields in lines if len(fields) == 2 and fields[0] in HELD)


def parse_groups(text: str) -> dict[str, str]:
    """`/proc/self/cgroup`: the group's path by controller; version 2 has one, under the empty name."""
    groups = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        groups.update(dict.fromkeys(controllers.split(","), path))
    return groups


def _least(figure: Figure) -> int | None:
    texts = (
        _read(folder / name) for folder in _folders(figure.controller) for name in (figure.file_v1, figure.file_v2)
    )
    limits = [limit for text in texts if text is not None and (limit := parse_limit(text)) is not None]
    return min(limits, default=None)


def _folders(controller: str) -> Iterator[Path]:
    """This process's group of the controller, then the groups above it."""
    groups = parse_groups(_read(Path("/proc/self/cgroup")) or "")
    for name, root in ((controller, ROOT / controller), ("", ROOT), ("", ROOT / "unified")):
        path = PurePosixPath(groups.get(name, "/"))
        for folder in (path, *path.parents):
            yield root / folder.relative_to("/")


def _read(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None
