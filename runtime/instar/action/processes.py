"""Which processes belong to a container, and how all of them end.

The rule: whoever ends a container leaves no process of it behind, whatever user code forked, detached or
ignored. A process that called `adopt_orphans` becomes the parent of every descendant whose own parent has
gone, so a detached one cannot slip away; `end_descendants` then kills until none is left.

It does not decide when a container ends; `instar.proxy.serve` and `instar.action.zygote` do.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
from collections.abc import Collection
from pathlib import Path

PR_SET_NAME = 15  # linux/prctl.h
PR_SET_CHILD_SUBREAPER = 36


def adopt_orphans() -> None:
    """Make this process the parent of its descendants' orphans. Raises `OSError` where the kernel refuses."""
    _prctl(PR_SET_CHILD_SUBREAPER, 1)


def name_self(name: str) -> None:
    """What `ps` and `top` call this process; the kernel keeps 15 bytes."""
    _prctl(PR_SET_NAME, name.encode())


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


def end_descendants(*, spared: Collection[int] = ()) -> None:
    """Kill and reap everything below this process but `spared`. Returns when nothing of it is left."""
    while victims := descendants(os.getpid(), spared=spared):
        for pid in victims:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for pid in victims:
            with contextlib.suppress(ChildProcessError):  # not our child yet: the next round sees it adopted
                os.waitpid(pid, 0)


def _parent_of(pid: int) -> int:
    status = Path(f"/proc/{pid}/stat").read_bytes()
    # The name stands in parentheses and may hold anything, parentheses too; the parent is two fields after it.
    return int(status[status.rindex(b")") + 2 :].split()[1])


def _prctl(option: int, argument: int | bytes) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, argument, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"prctl({option}): {os.strerror(number)}")
