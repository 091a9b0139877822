"""Memory that a thread had for an archive goes back to the system when the archive has been sent."""

from __future__ import annotations

import subprocess
import sys

import pytest

SCRIPT = """
import sys, threading
from pathlib import Path
from instar_controller.clients import allocator

def resident():
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) // 1024

def carry(meeting):
    for _ in range(4):  # the first ones teach the C library that such blocks are usual
        blocks = [b"x" * (20 << 20), b"y" * (25 << 20)]
        meeting.wait()
        del blocks
        meeting.wait()

if sys.argv[1] == "returned":
    allocator.return_large_blocks()
before = resident()
meeting = threading.Barrier(4)
threads = [threading.Thread(target=carry, args=(meeting,)) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(resident() - before)
"""


def kept_mib(mode: str) -> int:
    """What a process has more than before, after four threads have let go of 45 MiB each."""
    done = subprocess.run([sys.executable, "-c", SCRIPT, mode], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.system
def test_freed_archives_are_not_kept() -> None:
    assert kept_mib("returned") < 10
