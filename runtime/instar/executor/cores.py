"""The threads that compute a model, on a processor each, while other threads of the process bring its weights.

The rule: it changes nothing but time, and where it does not apply it does nothing.

torch computes an operator with as many threads as there are processors and waits for the last of them. Between two
operators they sleep. When one is woken while a thread that reads weights has its processor, Linux puts it beside the
other one, and may leave both on one processor for tens of milliseconds while the other stands idle: the first answer
of a MobileNet took 31 ms instead of 23 (2 processors, 1,500 MB/s).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import torch

from instar.weights import kernel

PARALLEL_ELEMENTS = 1 << 18  # so many are filled by all of torch's threads
_ours = threading.local()  # torch has threads of its own for each thread that computes


@contextmanager
def apart() -> Iterator[None]:
    """Keep the calling thread, and those that torch computes with for it, on different processors inside.

    Nothing is changed where torch does not have exactly one thread for each processor that it may use: where it has
    fewer, keeping them on some would keep them from others that are free.
    """
    allowed = os.sched_getaffinity(0)
    team = _team() if torch.get_num_threads() == len(allowed) > 1 else []
    kept = []
    try:
        # The calling thread stays where it is, which has several processes begin on different ones.
        here = kernel.processor()
        for thread, processor in zip(team, sorted(allowed, key=lambda one: (one < here, one)), strict=False):
            with suppress(OSError):  # it has ended, or its processors were just changed
                os.sched_setaffinity(thread, {processor})
                kept.append(thread)
        yield
    finally:
        for thread in kept:
            with suppress(OSError):
                os.sched_setaffinity(thread, allowed)


def _team() -> list[int]:
    """The calling thread and those that torch computes with for it; none where they cannot be told."""
    if not hasattr(_ours, "team"):
        team = [threading.get_native_id(), *_computing()]
        if len(team) != torch.get_num_threads():
            return []  # for now: some other thread ran at the same moment
        _ours.team = team
    return list(_ours.team)


def _computing() -> list[int]:
    """The threads, not Python's, that run whenever an operator is computed in parallel."""
    values = torch.empty(PARALLEL_ELEMENTS)
    values.fill_(1.0)  # which starts them
    before = _run_ns()
    values.fill_(2.0)
    after = _run_ns()
    # Of the main thread of a forked process, threading still says what it was called before.
    pythons = {threading.get_native_id(), *(thread.native_id for thread in threading.enumerate())}
    return [task for task, ns in after.items() if ns > before.get(task, ns) and task not in pythons]


def _run_ns() -> dict[int, int]:
    """How long each thread of this process has run."""
    found = {}
    for task in os.listdir("/proc/self/task"):
        with suppress(OSError):  # it has ended meanwhile
            # How the kernel numbers the clock of a thread (include/linux/posix-timers.h).
            found[int(task)] = time.clock_gettime_ns(~int(task) << 3 | 6)
    return found
