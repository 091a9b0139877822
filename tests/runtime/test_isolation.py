"""Each process of an isolated container may do what it must, and no more."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runtime.attacks import PLAIN, do
from tests.runtime.containers import Container, await_end
from tests.runtime.isolated import Isolated, needs_root

pytestmark = [pytest.mark.system, needs_root]

RUNTIME = 65532
TOKEN = "a secret of the proxy's"


@pytest.fixture(scope="module")
def container() -> Iterator[Isolated]:
    """One container with a function that does what it is told, for the tests that leave it well."""
    container = Isolated("--isolate", "--memory-mib", "256", environ={"INSTAR_TOKEN": TOKEN})
    assert container.init(PLAIN).status == 200
    yield container
    container.close()


@pytest.fixture
def start() -> Iterator[Callable[..., Isolated]]:
    started: list[Isolated] = []

    def start(*arguments: str, **options: dict[str, str]) -> Isolated:
        started.append(Isolated("--isolate", *arguments, **options))
        return started[-1]

    yield start
    for container in started:
        container.close()


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines if ":\t" in line)


KEPT = {"master": 0b1110_0000, "zygote": 0b1110_0001, "proxy": 0, "executor": 0, "worker": 0}  # by number, a bit each


@pytest.mark.parametrize("role", KEPT)
def test_a_process_has_only_the_capabilities_that_it_needs(container: Isolated, role: str) -> None:
    pid = container.processes()[role]
    for task in Path(f"/proc/{pid}/task").iterdir():  # the kernel keeps them for each thread
        found = status(int(task.name))
        sets = {name: int(found[f"Cap{name}"], 16) for name in ("Prm", "Eff", "Inh", "Bnd", "Amb")}
        assert sets == {"Prm": KEPT[role], "Eff": KEPT[role], "Inh": 0, "Bnd": 0, "Amb": 0}
        assert found["NoNewPrivs"] == "1"
        assert found["Groups"].split() == []


def test_the_worker_is_a_user_of_its_own_and_the_rest_is_the_runtimes(container: Isolated) -> None:
    users = {role: status(pid)["Uid"].split() for role, pid in container.processes().items()}
    worker = users.pop("worker")
    assert len(set(worker)) == 1 and int(worker[0]) >= 0x7000_0000
    assert users == {role: [str(RUNTIME)] * 4 for role in ("master", "proxy", "zygote", "executor")}


def test_each_container_draws_its_own_user(container: Isolated, start: Callable[..., Isolated]) -> None:
    other = start()
    assert other.init(PLAIN).status == 200
    uids = [do(one, "value = os.getuid()") for one in (container, other)]
    assert len(set(uids)) == 2


def test_a_worker_holds_no_descriptor_but_its_streams_its_channel_and_its_door(container: Isolated) -> None:
    program = """
    import os
    links = {}
    for number in os.listdir('/proc/self/fd'):
        try:
            links[int(number)] = os.readlink(f'/proc/self/fd/{number}')
        except FileNotFoundError:
            pass  # that of the listing itself
    value = links
    """
    links = {int(number): link for number, link in do(container, textwrap.dedent(program)).items()}
    assert links.pop(0) == "/dev/null"
    assert links.pop(1).endswith("/out") and links.pop(2).endswith("/err")
    # The channel, and the door: no model was asked for, so no session has come through it.
    assert [link.partition(":")[0] for link in links.values()] == ["socket", "socket"]


def test_the_proxys_token_is_not_known_to_anybody_else(container: Isolated) -> None:
    assert do(container, "value = [os.environ.get('INSTAR_TOKEN'), open('/proc/self/environ').read()]")[0] is None
    for role, pid in container.processes().items():
        known = TOKEN.encode() in Path(f"/proc/{pid}/environ").read_bytes()
        assert known is (role in ("master", "proxy")), role


def test_a_worker_has_limits_of_its_own(container: Isolated) -> None:
    program = "import resource; value = [resource.getrlimit(i) for i in (4, 6, 7, 2)]"
    core, processes, files, data = do(container, program)
    assert (core, files) == ([0, 0], [1024, 1024])
    assert 0 < processes[0] == processes[1] <= 512
    assert data[0] == data[1] and 256 << 20 < data[0] < 2 << 30


def test_a_user_that_no_file_knows_has_a_home_a_name_and_a_place_for_temporary_files(container: Isolated) -> None:
    program = """
    import getpass, os, tempfile
    home = os.path.expanduser('~')
    open(os.path.join(home, 'new'), 'w').close()
    with tempfile.NamedTemporaryFile() as file:
        value = [getpass.getuser(), home == os.getcwd(), file.name.startswith('/tmp/')]
    """
    assert do(container, textwrap.dedent(program)) == ["instar", True, True]


def test_the_kernel_ends_the_worker_first(container: Isolated) -> None:
    scores = {role: Path(f"/proc/{pid}/oom_score_adj").read_text() for role, pid in container.processes().items()}
    assert int(scores.pop("worker")) == 1000
    assert all(int(score) < 1000 for score in scores.values())


def test_ordinary_work_of_torch_fits_a_small_actions_memory(start: Callable[..., Isolated]) -> None:
    container = start("--memory-mib", "128", "--threads", "2", environ={"__OW_ALLOW_CONCURRENT": "true"})
    assert container.init(PLAIN).status == 200
    program = """
    import threading, torch
    done, all_there = [], threading.Barrier(16)
    def work():
        all_there.wait()
        done.append(float((torch.ones(300, 300) @ torch.ones(300, 300)).sum()))
        all_there.wait()
    threads = [threading.Thread(target=work) for _ in range(16)]
    [t.start() for t in threads]
    [t.join() for t in threads]
    torch.set_num_threads(16)
    value = done + [float((torch.ones(1000, 1000) @ torch.ones(1000, 1000))[0, 0])]
    """
    assert do(container, textwrap.dedent(program)) == [300.0**3] * 16 + [1000.0]


def test_more_memory_than_the_action_has_is_a_memory_error(container: Isolated) -> None:
    assert do(container, "value = len(bytearray(1 << 30))")[0] == "MemoryError"
    assert do(container, "value = torch.ones(1 << 30).sum().item()")[0] == "RuntimeError"
    assert do(container, "value = len(bytearray(64 << 20))") == 64 << 20


# What becomes of a container does not depend on whose its processes are.

CLINGING = """
import os, subprocess
def main(args):
    child = subprocess.Popen(['sleep', '600'])
    detached = subprocess.Popen(['sleep', '600'], start_new_session=True)
    return {'pids': [os.getpid(), child.pid, detached.pid]}
"""


def close_lifeline(container: Container) -> None:
    container.let_go()


def terminate(container: Container) -> None:
    container.process.terminate()


def kill_master(container: Container) -> None:
    os.kill(container.processes()["master"], signal.SIGKILL)


def kill_proxy(container: Container) -> None:
    os.kill(container.processes()["proxy"], signal.SIGKILL)


def kill_zygote(container: Container) -> None:
    os.kill(container.processes()["zygote"], signal.SIGKILL)


@pytest.mark.parametrize("end", [close_lifeline, terminate, kill_master, kill_proxy, kill_zygote])
def test_no_process_is_left_however_it_ends(start: Callable[..., Isolated], end: Callable[[Container], None]) -> None:
    container = start()
    assert container.init(CLINGING).status == 200
    pids = container.run().json["pids"] + list(container.processes().values())
    assert len(set(pids)) == 7
    end(container)
    container.await_end()
    for pid in pids:
        await_end(pid)
    assert container.group() == []


@pytest.mark.parametrize("end", [close_lifeline, terminate])
def test_an_orderly_end_leaves_no_file(start: Callable[..., Isolated], end: Callable[[Container], None]) -> None:
    container = start()
    assert container.init(PLAIN).status == 200
    left = f"/tmp/instar-test-left-{os.getpid()}"
    program = f"open({left!r}, 'w'); os.mkdir('d'); os.chmod('d', 0); os.chmod('.', 0); value = 1"
    assert do(container, program) == 1
    end(container)
    assert container.await_end() == 0
    assert list(container.work.iterdir()) == []
    assert not Path(left).exists()


# What cannot be isolated as asked does not start.


def _refused(*arguments: str, user: int | None = None, wrapped: tuple[str, ...] = ()) -> str:
    command = [*wrapped, sys.executable, "-m", "instar.proxy.serve", "--port", "0", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, user=user, cwd="/")
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr


@pytest.mark.parametrize("name", ["setuid", "setgid", "kill", "chown"])
def test_a_capability_that_was_taken_away_is_named_at_the_start(name: str) -> None:
    line = _refused("--isolate", wrapped=("setpriv", f"--bounding-set=-{name}", f"--inh-caps=-{name}"))
    assert re.search(rf"capabilities {name.upper()}, which", line)


@pytest.mark.parametrize("uid", [0, RUNTIME, 65531, -5, 1 << 31])
def test_a_worker_is_not_given_the_runtimes_or_roots_place(uid: int) -> None:
    assert f"--worker-uid {uid}" in _refused("--isolate", f"--worker-uid={uid}")


def test_a_worker_is_not_given_the_place_of_somebody_who_is_there() -> None:
    with subprocess.Popen(["sleep", "60"], user=65500) as somebody:
        assert f"runs process {somebody.pid}" in _refused("--worker-uid", "65500")
        somebody.kill()


def test_a_store_that_everybody_may_write_is_named(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store").chmod(0o777)
    work = tmp_path / "work"
    work.mkdir()
    assert "close it (chmod o-w)" in _refused("--isolate", "--store", str(tmp_path / "store"), "--work", str(work))
    assert list(work.iterdir()) == []


def test_a_folder_that_the_runtimes_user_cannot_reach_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "closed").mkdir()
    line = _refused("--isolate", "--work", str(tmp_path / "closed"))
    assert "user 65532" in line and "cannot reach" in line
    assert list((tmp_path / "closed").iterdir()) == []


def test_the_meter_is_not_within_the_functions_reach(container: Isolated) -> None:
    """What `X-Instar-Weights` says is counted by the executor; the function has no way to the page."""
    places = "[f'/proc/self/fd/{n}' for n in os.listdir('/proc/self/fd')]"
    found = do(container, f"value = [os.readlink(place) for place in {places} if os.path.lexists(place)]")
    assert found and not [name for name in found if "meter" in name]
    assert do(container, "value = 'instar-meter' in open('/proc/self/maps').read()") is False
    for role in ("proxy", "zygote", "executor"):
        pid = container.processes()[role]
        assert do(container, f"value = os.access('/proc/{pid}/fd', os.R_OK)") is False
    assert "instar-meter" in Path(f"/proc/{container.processes()['proxy']}/maps").read_text()
