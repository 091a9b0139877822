"""A container that has lost its zygote, its proxy or its master ends, with every process in it."""

from __future__ import annotations

import os
import signal

import pytest

from tests.runtime.containers import await_end
from tests.survival.subjects import Answer, Subject, all_processes, init

pytestmark = pytest.mark.system

DAEMONS = """
import subprocess
[subprocess.Popen(['sleep', '900'], start_new_session=session) for session in (True, False)]
def main(args):
    return args
"""


@pytest.mark.parametrize("role", ["zygote", "proxy", "master"])
def test_a_container_ends_with_any_of_its_three(subject: Subject, role: str) -> None:
    assert init(subject, DAEMONS) == Answer(200, {"ok": True})
    pids = all_processes(subject)
    assert len(pids) == 7  # master, proxy, zygote, executor, worker and the worker's two
    os.kill(subject.processes()[role], signal.SIGKILL)
    subject.await_end()
    for pid in pids:
        await_end(pid)
    assert subject.group() == []
