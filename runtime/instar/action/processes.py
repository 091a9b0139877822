"""Which processes belong to a container, and how all of them end.

The rule: whoever ends a container leaves no process of it behind, whatever user code forked, detached or
ignored. A process that called `adopt_orphans` becomes the parent of every descendant whose own parent has
gone, so a detached one cannot slip away; `end_descendants` then kills until none is left.

It does not decide when a container ends; `instar.proxy.serve` and `instar.action.zygote` do.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import resource
import signal
import time
from collections.abc import Collection, Iterable
from pathlib import Path

# linux/prctl.h
PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38


STAT_BYTES = 4096
PF_EXITING = 0x4  # linux/sched.h; field 9 of `stat`
FEW = 8
STOP_STEP_S = 0.0002
STOP_LOOK_S = 0.2  # as long as one looks for it; then the end is waited for


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans. Raises `OSError` where the kernel refuses."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)


def name_self(name: str) -> None:
    """What `ps` and `top` call this process; the kernel keeps 15 bytes."""
    prctl(PR_SET_NAME, name.encode())


def descendants(root: int, *, spared: Collection[int] = ()) -> list[int]:
    """The pids below `root`, without those in `spared` and what is below them."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                children.setdefault(_parent_of(int(entry)), []).append(int(entry))
    found: list[int] = []
    waiting = [root]
    while waiting:
        for pid in children.get(waiting.pop(), ()):
            if pid not in spared:
                found.append(pid)
                waiting.append(pid)
    return found


def of_user(uid: int) -> list[int]:
    """The processes that run as this user."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # it ended while we looked
                lines = Path(f"/proc/{entry}/status").read_text().splitlines()
                if any(line.startswith("Uid:") and str(uid) in line.split() for line in lines):
                    found.append(int(entry))
    return found


def end_descendants(*, spared: Collection[int] = ()) -> None:
    """Kill and reap everything below this process but `spared`. Returns when nothing of it is left."""
    while victims := descendants(os.getpid(), spared=spared):
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in victims:
            with contextlib.suppress(ChildProcessError):  # not our child yet: the next round sees it adopted
                os.waitpid(pid, 0)


def stop_descendants(*, spared: Collection[int] = ()) -> None:
    """Kill everything below this process but `spared`. Returns when none of it will do anything any more and its
    memory cannot be read; the kernel may still be taking that apart, for 10 ms where torch is mapped.
    """
    while victims := [pid for pid in descendants(os.getpid(), spared=spared) if not _is_over(pid)]:
        if len(victims) > FEW:  # until they are reaped they count against what the next function may start
            return end_descendants(spared=spared)
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        deadline_s = time.monotonic() + STOP_LOOK_S
        while not all(map(_is_over, victims)):
            if time.monotonic() > deadline_s:  # a kernel that does not tell, or does not get round to it
                return end_descendants(spared=spared)
            time.sleep(STOP_STEP_S)


def _is_over(pid: int) -> bool:
    """Whether every thread of a process is past its last instruction, and without memory."""
    try:
        threads = os.listdir(f"/proc/{pid}/task")
        return all(_has_let_go(f"/proc/{pid}/task/{thread}") for thread in threads)
    except (FileNotFoundError, ProcessLookupError):
        return True  # not even its entry is left


def _has_let_go(thread: str) -> bool:
    try:
        with open(f"{thread}/stat", "rb", buffering=0) as file:
            fields = _after_name(file.read(STAT_BYTES))
        with open(f"{thread}/statm", "rb", buffering=0) as file:
            pages = file.read(STAT_BYTES).split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return True
    return bool(int(fields[6]) & PF_EXITING) and pages == b"0"


def end_with_parent(parent: int) -> None:
    """End this process when the thread that forked it does, which was one of the process `parent`.

    A change of user undoes this. It is a second belt: a process may take it off.
    """
    prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it has ended meanwhile
        os.kill(os.getpid(), signal.SIGKILL)


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor of this process that is not in `kept`."""
    first = 0
    for descriptor in sorted(set(kept)):
        if first < descriptor:  # an empty range from 0 would be taken for all
            os.closerange(first, descriptor)
        first = descriptor + 1
    os.closerange(first, resource.getrlimit(resource.RLIMIT_NOFILE)[1])


def _parent_of(pid: int) -> int:
    with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:  # some hundred at a time: Path takes twice as long
        return int(_after_name(file.read(STAT_BYTES))[1])


def _after_name(status: bytes) -> list[bytes]:
    """The fields of a `stat` from the third on. The second, the name, stands in parentheses and may hold anything,
    parentheses too."""
    return status[status.rindex(b")") + 2 :].split()


def prctl(option: int, argument: int | bytes) -> None:
    """Change an attribute of this process. Raises `OSError`."""
    checked(f"prctl({option})", libc().prctl(option, argument, 0, 0, 0))


@functools.cache
def libc() -> ctypes.CDLL:
    """For the system calls that Python has no name for; what they return goes through `checked`."""
    return ctypes.CDLL(None, use_errno=True)


def checked(what: str, returned: int) -> None:
    """Raises `OSError` where a system call returned a failure."""
    if returned < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
