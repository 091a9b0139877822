"""What this device takes is measured once, by a process that ends with the server; the profile it leaves is used.

What stands in for `instar profile` here writes down a profile of its own making: this is about how it is started,
told to end, and believed.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from queue import SimpleQueue

import pytest
from registered import CHEAP, WAIT_S

from instar import profiles
from instar.plan.costs import Costs
from instar.plan.fit import Error
from instar.profiles import Profile
from instar_controller.clients import costs as clients
from instar_controller.clients.costs import DeviceCosts, Measured, Measuring

pytestmark = pytest.mark.system

ERROR = Error(40, 0.05, 0.2, 0.95)
HERE = Costs(profiles.device_kind(), CHEAP.rates_ns)
PROFILE = Profile(HERE, ERROR, ERROR, "a test")
WRITE = """
import os, sys
from pathlib import Path
from instar import profiles
print("what it says to people", flush=True)
profiles.write(profiles.folder(os.environ), profiles.decode(Path(sys.argv[1]).read_bytes()))
"""
# It takes no hint, begins a process of its own, tells both ids to who reads its first argument, and goes on for ever.
ENDLESS = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGINT, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
with open(sys.argv[1], "w") as told:
    told.write(f"{os.getpid()} {child.pid}")
time.sleep(600)
"""


def measuring(script: str, *arguments: object) -> list[str]:
    """As the product starts it, with another command in the place of `instar`."""
    begin = "from instar_controller.clients import measuring\nmeasuring.end_with_input()\n"
    return [sys.executable, "-c", begin + script, *map(str, arguments)]


@pytest.fixture
def said() -> SimpleQueue[Measuring | Measured]:
    return SimpleQueue()


def sample(tmp_path: Path, profile: Profile = PROFILE) -> Path:
    path = tmp_path / "sample"
    path.write_bytes(profiles.encode(profile))
    return path


def test_a_profile_that_is_there_is_used(tmp_path: Path, said: SimpleQueue[Measuring | Measured]) -> None:
    profiles.write(tmp_path, PROFILE)
    found = DeviceCosts(tmp_path, os.environ, announce=said.put, command=["no such command"])
    assert found.get() == HERE
    assert said.empty()


def test_a_device_that_nobody_has_measured_is_measured_once(
    tmp_path: Path, said: SimpleQueue[Measuring | Measured], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "profiles"
    command = measuring(WRITE, sample(tmp_path))
    assert DeviceCosts(folder, os.environ, announce=said.put, command=command).get() == HERE
    assert said.get_nowait() == Measuring(HERE.device)
    assert said.get_nowait() == Measured(HERE.device, str(ERROR))
    again = DeviceCosts(folder, os.environ, announce=said.put, command=["no such command"])
    assert again.get() == HERE
    assert said.empty()
    assert capfd.readouterr().out == ""  # standard output is the server's


def test_it_lets_every_other_process_go_first(tmp_path: Path, said: SimpleQueue[Measuring | Measured]) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    costs = DeviceCosts(tmp_path, os.environ, announce=said.put, command=measuring(ENDLESS, told))
    thread = threading.Thread(target=costs.get)
    thread.start()
    pid = int(told.read_text().split()[0])
    deadline_s = time.monotonic() + WAIT_S
    while os.getpriority(os.PRIO_PROCESS, pid) != clients.LEAST_PRIORITY:  # it begins before it is told its own
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    costs.close()
    thread.join(WAIT_S)
    assert not thread.is_alive()


TIDY = """
import os, sys, tempfile, time
with tempfile.TemporaryDirectory(dir=sys.argv[2]):
    with open(sys.argv[1], "w") as told:
        told.write("ready")
    time.sleep(600)
"""


def test_it_clears_away_what_it_has_written_when_the_server_ends(
    tmp_path: Path, said: SimpleQueue[Measuring | Measured]
) -> None:
    told, folder = tmp_path / "told", tmp_path / "folder"
    os.mkfifo(told)
    folder.mkdir()
    costs = DeviceCosts(tmp_path, os.environ, announce=said.put, command=measuring(TIDY, told, folder))
    thread = threading.Thread(target=costs.get)
    thread.start()
    assert told.read_text() == "ready"
    assert len(list(folder.iterdir())) == 1
    costs.close()
    thread.join(WAIT_S)
    assert list(folder.iterdir()) == []


def ended(pid: int) -> select.poll:
    poll = select.poll()
    poll.register(os.pidfd_open(pid), select.POLLIN)
    return poll


def test_it_ends_with_the_server_and_all_that_it_has_started(
    tmp_path: Path, said: SimpleQueue[Measuring | Measured], caplog: pytest.LogCaptureFixture
) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    found: SimpleQueue[Costs | None] = SimpleQueue()
    costs = DeviceCosts(tmp_path, os.environ, announce=said.put, command=measuring(ENDLESS, told))
    thread = threading.Thread(target=lambda: found.put(costs.get()))
    thread.start()
    ends = [ended(int(pid)) for pid in told.read_text().split()]
    costs.close()
    assert all(end.poll(WAIT_S * 1000) for end in ends)
    assert found.get(timeout=WAIT_S) is None
    thread.join()
    assert caplog.text == ""
    assert costs.get() is None  # and none is begun any more


def test_it_ends_with_a_server_that_is_killed(tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    script = (
        "import os, sys\nfrom pathlib import Path\nfrom instar_controller.clients.costs import DeviceCosts\n"
        "DeviceCosts(Path(sys.argv[1]), os.environ, announce=lambda _: None, command=sys.argv[2:]).get()\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), *measuring(ENDLESS, told)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as server:
        ends = [ended(int(pid)) for pid in told.read_text().split()]
        server.send_signal(signal.SIGKILL)
    assert all(end.poll(WAIT_S * 1000) for end in ends)


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["no such command"], "No such file"),
        (measuring("raise SystemExit('the disk is full')"), "the disk is full (exit status 1)"),
        (measuring("pass"), "of another kind of device"),
    ],
    ids=["cannot be started", "fails", "leaves nothing"],
)
def test_what_went_wrong_is_told_and_there_are_no_costs(
    tmp_path: Path,
    said: SimpleQueue[Measuring | Measured],
    caplog: pytest.LogCaptureFixture,
    command: list[str],
    why: str,
) -> None:
    assert DeviceCosts(tmp_path, os.environ, announce=said.put, command=command).get() is None
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert caplog.text.count("nothing is planned") == 1
    assert why in record.getMessage()


def test_a_damaged_profile_is_measured_anew(
    tmp_path: Path, said: SimpleQueue[Measuring | Measured], caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "profiles"
    profiles.write(folder, PROFILE).write_bytes(b"{")
    command = measuring(WRITE, sample(tmp_path))
    assert DeviceCosts(folder, os.environ, announce=said.put, command=command).get() == HERE
    assert "not even JSON" in caplog.text
