"""Freezing a container by the switch of its control group.

It is what the engine does in the end, without the way there: 0.1 ms to wake a container for its 10, which a request
waits for. The rule: only a switch that is certainly this container's, and that this process may turn; else the engine
is asked. The engine does not know of it, so whoever has frozen a container thaws it before it is removed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from instar_controller.errors import ContainerError

LIMIT_S = 10.0  # as the engine's
STEP_S = 0.001
PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Freezer:
    """One container's switch: what is written to `switch`, and what `state` then comes to hold."""

    switch: Path
    frozen: str
    thawed: str
    state: Path
    is_frozen: str

    def freeze(self) -> None:
        """Return when no process of the container runs any more. Raises `ContainerError`; then it runs."""
        try:
            self.switch.write_text(self.frozen)
            deadline_s = time.monotonic() + LIMIT_S
            while self.is_frozen not in self.state.read_text().splitlines():
                if time.monotonic() > deadline_s:
                    self.switch.write_text(self.thawed)
                    raise ContainerError(f"{self.switch} has not stopped every process within {LIMIT_S:g} s")
                time.sleep(STEP_S)
        except OSError as error:
            raise ContainerError(f"{self.switch}: {error.strerror}") from error

    def thaw(self) -> None:
        """Let its processes run on. Raises `ContainerError`."""
        try:
            self.switch.write_text(self.thawed)
        except OSError as error:
            raise ContainerError(f"{self.switch}: {error.strerror}") from error


def find(pid: int, container: str, *, proc: Path = PROC) -> Freezer | None:
    """The switch of the container with this full id, whose first process is `pid`; None if there is none for us.

    The group of that process has the id in its name, or that number is another process's here.
    """
    try:
        groups = _groups((proc / str(pid) / "cgroup").read_text())
        mounts = (proc / "self" / "mountinfo").read_text()
    except OSError:
        return None
    for kind, controller, make in (("cgroup", "freezer", _version_1), ("cgroup2", "", _version_2)):
        group = groups.get(controller, "")
        if not any(container in part for part in group.split("/")):
            continue
        for top in _tops(mounts, kind, controller):
            found = make(top / group.lstrip("/"))
            if _is_ours(found.switch):
                return found
    return None


def _version_1(folder: Path) -> Freezer:
    switch = folder / "freezer.state"
    return Freezer(switch, "FROZEN", "THAWED", switch, "FROZEN")


def _version_2(folder: Path) -> Freezer:
    return Freezer(folder / "cgroup.freeze", "1", "0", folder / "cgroup.events", "frozen 1")


def _is_ours(switch: Path) -> bool:
    """Whether it is there and this process may turn it: mounts of it are often read-only."""
    try:
        with switch.open("r+"):
            return True
    except OSError:
        return False


def _groups(text: str) -> dict[str, str]:
    """The control group by controller, "" being version 2's."""
    found = {}
    for line in text.splitlines():
        _, controllers, group = line.split(":", 2)
        for controller in controllers.split(","):
            found[controller] = group
    return found


def _tops(mounts: str, kind: str, controller: str) -> list[Path]:
    """Where whole hierarchies of this kind, with this controller, are mounted."""
    found = []
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        _, _, _, root, point, *_ = before.split()
        file_system, _, options = after.split()[:3]
        if file_system == kind and root == "/" and (not controller or controller in options.split(",")):
            found.append(Path(point.replace(r"\040", " ")))
    return found
