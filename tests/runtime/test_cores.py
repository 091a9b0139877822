"""The threads that compute stay apart while weights arrive, and are as free as before afterwards."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest
import torch

from instar.executor import cores

SEVERAL = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is one processor: nothing can be apart")
SETS = dict[int, set[int]]


def processors() -> SETS:
    """Which processors each thread of this process may use."""
    found = {}
    for task in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(ProcessLookupError):  # one that an earlier test has left ends just now
            found[task] = os.sched_getaffinity(task)
    return found


def changed(before: SETS, now: SETS) -> list[set[int]]:
    return [allowed for task, allowed in now.items() if allowed != before.get(task, allowed)]


@pytest.fixture(autouse=True)
def computing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """torch has a thread for each processor, as by itself, whatever other tests have told it."""
    before = torch.get_num_threads()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    monkeypatch.setattr(cores, "_ours", threading.local())
    for _ in range(100):  # a thread that happens to run at that moment hides them: they are looked for again
        with cores.apart():
            if hasattr(cores._ours, "team"):
                break
    yield
    torch.set_num_threads(before)


@SEVERAL
def test_each_has_a_processor_of_its_own() -> None:
    allowed = os.sched_getaffinity(0)
    before = processors()
    with cores.apart():
        own = changed(before, processors())
        assert os.sched_getaffinity(0) in own, "the calling thread, too"
    assert sorted(own, key=min) == [{one} for one in sorted(allowed)]
    assert not changed(before, processors())


@SEVERAL
def test_threads_of_python_are_left_alone() -> None:
    done = threading.Event()
    found: list[set[int]] = []

    def run() -> None:
        done.wait()
        found.append(os.sched_getaffinity(0))

    thread = threading.Thread(target=run)
    thread.start()
    with cores.apart():
        done.set()
        thread.join()
    assert found == [os.sched_getaffinity(0)]


@SEVERAL
def test_an_error_inside_frees_them() -> None:
    before = processors()
    with pytest.raises(ValueError, match="inside"), cores.apart():
        assert changed(before, processors())
        raise ValueError("inside")
    assert not changed(before, processors())


def test_fewer_threads_than_processors_are_left_alone() -> None:
    """In a process of its own, since torch's threads are counted once."""
    code = """
import os
import torch
from instar.executor import cores
torch.set_num_threads(1)
before = os.sched_getaffinity(0)
with cores.apart():
    assert os.sched_getaffinity(0) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_single_processor_is_left_alone() -> None:
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
import torch
from instar.executor import cores
before = os.sched_getaffinity(0)
with cores.apart():
    assert os.sched_getaffinity(0) == before
"""
    subprocess.run([sys.executable, "-c", code], check=True)
