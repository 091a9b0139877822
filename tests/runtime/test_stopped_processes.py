"""What was stopped does nothing any more and cannot be read, though the kernel may still be clearing it away."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.system

# In a process of its own, which adopts what its children leave, as the zygote does.
BEGIN = """
import contextlib, mmap, os, sys, threading, time
from pathlib import Path
from instar.action import processes
processes.adopt_orphans()
counters = mmap.mmap(-1, 4096)
def count(number):
    while True:
        counters[number] = (counters[number] + 1) % 251
"""
MANY = f"""{BEGIN}
CHILDREN = int(sys.argv[1])
pids = []
for number in range(CHILDREN):
    pids.append(os.fork())
    if pids[-1] == 0:
        if number % 2:
            os.setsid()
            if os.fork():
                os._exit(0)
        threading.Thread(target=count, args=(number,)).start()
        count(CHILDREN + number)
while not all(counters[: 2 * CHILDREN]):
    time.sleep(0.001)
processes.stop_descendants(spared=pids[:1])
before = counters[:]
moved = set()
while 0 not in moved:  # until the spared one has had a processor, the others would have had one, too
    time.sleep(0.05)
    moved |= {{index % CHILDREN for index in range(2 * CHILDREN) if counters[index] != before[index]}}
assert len(moved) == 1, moved
processes.stop_descendants()
before = counters[:]
time.sleep(0.05)
assert counters[:] == before
"""
LARGE = f"""{BEGIN}
SECRET = os.urandom(32)
ready, told = os.pipe()
child = os.fork()
if child == 0:
    memory = bytearray(SECRET) * (300 << 15)  # 300 MiB, which takes the kernel a while
    os.write(told, b".")
    time.sleep(600)
os.read(ready, 1)
processes.stop_descendants()
try:
    assert Path(f"/proc/{{child}}/statm").read_text().split()[0] == "0"
    assert Path(f"/proc/{{child}}/maps").read_text() == ""
except (FileNotFoundError, ProcessLookupError):
    pass  # it has gone altogether
with contextlib.suppress(ChildProcessError):  # the kernel took so long that its end was waited for
    os.waitpid(child, 0)
"""


@pytest.mark.parametrize("count", [2, 4, 20])
def test_all_but_the_spared_one_stand_still(count: int) -> None:
    subprocess.run([sys.executable, "-c", MANY, str(count)], check=True, timeout=60)


def test_the_memory_of_a_large_one_cannot_be_read_any_more() -> None:
    subprocess.run([sys.executable, "-c", LARGE], check=True, timeout=60)
