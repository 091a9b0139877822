"""What a function leaves is removed, and nothing else, whatever it is named and however deep it lies."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from instar.action import remains
from tests.runtime.isolated import needs_root

UID = 0x7FFF_0001  # of the function; nobody has it
HEAD = "key shmid perms size cpid lpid nattch uid gid cuid cgid atime dtime ctime rss swap\n"


def test_a_table_of_shared_memory_is_read_by_owner_and_by_maker() -> None:
    owned = "0 7 600 4096 1 1 0 5 5 9 9 0 0 0 0 0\n"
    made = "1 8 600 4096 1 1 0 9 9 5 5 0 0 0 0 0\n"
    neither = "2 9 600 5 5 5 5 6 5 6 5 0 0 0 0 0\n"
    assert remains.parse_ipc(HEAD + owned + made + neither, 5) == [7, 8]
    assert remains.parse_ipc(HEAD, 5) == []


def as_function(body: Callable[[], None]) -> None:
    """Do something as the function's user."""
    pid = os.fork()
    if pid == 0:
        try:
            os.setgroups([])
            os.setresgid(UID, UID, UID)
            os.setresuid(UID, UID, UID)
            body()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(pid, 0)[1] == 0


@pytest.fixture
def everybodys(tmp_path: Path) -> Path:
    """A folder like /tmp."""
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(folder.stat().st_mode | 0o001)
    (tmp_path / "tmp").mkdir()
    (tmp_path / "tmp").chmod(0o1777)
    return tmp_path / "tmp"


pytestmark = needs_root


def test_files_of_the_function_go_and_others_stay(everybodys: Path) -> None:
    (everybodys / "theirs").mkdir(0o755)
    (everybodys / "theirs" / "file").write_text("x")
    (everybodys / "shared").mkdir()
    (everybodys / "shared").chmod(0o777)

    def leave() -> None:
        os.chdir(everybodys)
        for name in ("plain", "shared/deep", "\n -rf *", "☃", "." + "x" * 250):
            Path(name).write_text("x")
        os.mkfifo("pipe")
        os.symlink("theirs", "link")
        os.symlink(everybodys / "theirs", "shared/link")
        os.makedirs("closed/in/it")
        Path("closed/in/it/file").write_text("x")
        os.symlink("/etc", "closed/etc")
        os.chmod("closed/in", 0)
        os.chmod("closed", 0)

    as_function(leave)
    as_function(lambda: remains.remove_files(everybodys, UID))
    assert sorted(str(path.relative_to(everybodys)) for path in everybodys.rglob("*")) == [
        "shared",
        "theirs",
        "theirs/file",
    ]
    assert Path("/etc/passwd").exists()


def test_a_tree_of_any_depth_and_width_goes(everybodys: Path) -> None:
    def leave() -> None:
        os.chdir(everybodys)
        for _ in range(3000):  # deeper than a path may be long, and than Python recurses
            os.mkdir("d" * 20)
            Path("file").touch()
            os.chdir("d" * 20)
        os.chdir(everybodys)
        os.mkdir("wide")
        for number in range(12_000):
            Path(f"wide/{number}").touch()

    as_function(leave)
    as_function(lambda: remains.remove_files(everybodys, UID))
    assert list(everybodys.iterdir()) == []


def test_shared_memory_of_the_function_goes_and_others_stays() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.shmat.restype = ctypes.c_void_p
    kept = libc.shmget(0, 4096, 0o600)
    assert kept >= 0

    def leave() -> None:
        assert libc.shmget(0, 4096, 0o666) >= 0 and libc.msgget(0, 0o666) >= 0 and libc.semget(0, 3, 0o666) >= 0

    def left(uid: int) -> list[list[int]]:
        return [remains.parse_ipc(Path(f"/proc/sysvipc/{kind}").read_text(), uid) for kind in ("shm", "sem", "msg")]

    try:
        as_function(leave)
        assert [len(ids) for ids in left(UID)] == [1, 1, 1]
        as_function(lambda: remains.remove_shared_memory(UID))
        assert left(UID) == [[], [], []]
        assert kept in left(0)[0]
    finally:
        libc.shmctl(kept, remains.IPC_RMID, None)


@pytest.mark.system
def test_processes_that_fork_without_end_go_all_at_once(everybodys: Path) -> None:
    """In a process of its own, which adopts what the bomb leaves, as the zygote does."""
    program = f"""
import os, resource, signal
from pathlib import Path
from instar.action import processes, remains
uid = {UID}
processes.adopt_orphans()
read, write = os.pipe()
if os.fork() == 0:
    resource.setrlimit(resource.RLIMIT_NPROC, (60, 60))
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while True:
        try:
            if os.fork() == 0:
                os.setsid()
        except OSError:
            os.write(write, b'.')  # there are as many as there may be
os.read(read, 1)
remains.wipe(uid, [Path({str(everybodys)!r})], lambda child: processes.end_descendants(spared=[child]))
assert processes.of_user(uid) == []
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
