"""The first process of a container hears SIGTERM from its first moment on. Such a process gets no signal that it has
no handler for, so `docker stop` would wait for its whole patience, and then kill it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None, reason="needs root and unshare, to make a first process"
)

# The command `slow` takes for ever to be imported.
SLOW = """
import time
from instar.commands import main

class Slow:
    name = "slow"
    def load(self):
        print("importing", flush=True)
        while True:
            time.sleep(0.1)

main.metadata.entry_points = lambda group: [Slow()]
raise SystemExit(main.main(["slow"]))
"""


def child(process: int) -> int:
    """The one process that it has started."""
    (found,) = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    return int(found)


def status_after_sigterm(*prefix: str) -> int:
    """How it ends when SIGTERM comes while it imports."""
    command = [*prefix, sys.executable, "-c", SLOW]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as started:
        try:
            assert started.stdout is not None
            assert started.stdout.readline() == "importing\n"
            os.kill(child(started.pid) if prefix else started.pid, signal.SIGTERM)
            return started.wait(60)
        finally:
            started.kill()  # and what it started, by its own wish


def test_it_ends_while_it_still_imports() -> None:
    assert status_after_sigterm("unshare", "--pid", "--fork", "--kill-child") == 128 + signal.SIGTERM


def test_any_other_process_is_ended_by_the_kernel() -> None:
    assert status_after_sigterm() == -signal.SIGTERM
