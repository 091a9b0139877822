"""Whose switch is found: that of the container's own control group, in both versions, and nobody else's."""

from __future__ import annotations

from pathlib import Path

import pytest

from instar_controller.clients.docker import freezer
from instar_controller.clients.docker.freezer import Freezer
from instar_controller.errors import ContainerError

PID = 4711
ID = "8f3a" * 16
VERSION_1 = f"7:memory:/docker/{ID}\n6:freezer:/docker/{ID}\n0::/\n"
VERSION_2 = f"0::/system.slice/docker-{ID}.scope\n"


class Machine:
    """A `/proc` and a `/sys` in a folder."""

    def __init__(self, folder: Path) -> None:
        self.proc = folder / "proc"
        self.top = folder / "groups of all"
        (self.proc / "self").mkdir(parents=True)
        (self.proc / str(PID)).mkdir()

    def of_version_1(self, groups: str = VERSION_1, *, root: str = "/") -> Path:
        return self._made(groups, f"30 20 0:9 {root} {{top}} rw - cgroup cgroup rw,freezer", f"docker/{ID}")

    def of_version_2(self, groups: str = VERSION_2) -> Path:
        return self._made(groups, "30 20 0:9 / {top} rw - cgroup2 cgroup2 rw", f"system.slice/docker-{ID}.scope")

    def _made(self, groups: str, mount: str, group: str) -> Path:
        (self.proc / str(PID) / "cgroup").write_text(groups)
        mounts = "22 20 0:5 / /proc rw - proc proc rw\n" + mount.format(top=str(self.top).replace(" ", r"\040"))
        (self.proc / "self" / "mountinfo").write_text(f"{mounts}\n")
        folder = self.top / group
        folder.mkdir(parents=True)
        return folder

    def find(self) -> Freezer | None:
        return freezer.find(PID, ID, proc=self.proc)


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_a_container_of_version_1_is_frozen_by_its_state(machine: Machine) -> None:
    switch = machine.of_version_1() / "freezer.state"
    switch.write_text("THAWED\n")
    found = machine.find()
    assert found is not None
    found.freeze()
    assert switch.read_text() == "FROZEN"
    found.thaw()
    assert switch.read_text() == "THAWED"


def test_a_container_of_version_2_is_frozen_when_its_events_say_so(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = machine.of_version_2()
    (folder / "cgroup.freeze").write_text("0\n")
    (folder / "cgroup.events").write_text("populated 1\nfrozen 0\n")
    found = machine.find()
    assert found is not None
    monkeypatch.setattr(freezer.time, "sleep", lambda _: (folder / "cgroup.events").write_text("frozen 1\n"))
    found.freeze()
    assert (folder / "cgroup.freeze").read_text() == "1"


def test_one_that_does_not_stop_runs_on(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = machine.of_version_2()
    (folder / "cgroup.freeze").write_text("0\n")
    (folder / "cgroup.events").write_text("frozen 0\n")
    monkeypatch.setattr(freezer, "LIMIT_S", 0.01)
    found = machine.find()
    assert found is not None
    with pytest.raises(ContainerError, match=r"has not stopped every process within 0\.01 s"):
        found.freeze()
    assert (folder / "cgroup.freeze").read_text() == "0"


def test_another_process_of_that_number_has_no_switch_for_us(machine: Machine) -> None:
    (machine.of_version_1(VERSION_1.replace(ID, "77" * 32)) / "freezer.state").write_text("THAWED")
    assert machine.find() is None


def test_without_a_process_of_that_number_there_is_none(tmp_path: Path) -> None:
    assert freezer.find(PID, ID, proc=tmp_path) is None


def test_a_group_that_is_not_mounted_from_its_root_is_not_looked_for(machine: Machine) -> None:
    (machine.of_version_1(root="/docker") / "freezer.state").write_text("THAWED")
    assert machine.find() is None


def test_a_group_without_a_switch_is_left_to_the_engine(machine: Machine) -> None:
    machine.of_version_1()
    assert machine.find() is None


def test_a_container_that_has_gone_says_which_switch_is_missing(machine: Machine) -> None:
    folder = machine.of_version_1()
    switch = folder / "freezer.state"
    switch.write_text("THAWED")
    found = machine.find()
    assert found is not None
    switch.unlink()
    folder.rmdir()
    for turn in (found.freeze, found.thaw):
        with pytest.raises(ContainerError, match=r"freezer\.state: No such file"):
            turn()
