"""A process that dies while it plans is replaced, and its pairs are planned; none outlives its parent."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from registered import WAIT_S, caught_planning, check_every_pair, models, register

from instar_controller.clients.plans import PlanRepository
from instar_controller.engines.registry import Registry

pytestmark = pytest.mark.system

HERE = Path(__file__).parent
PARENT = """
import sys
from pathlib import Path
from registered import CHEAP, caught_planning, models, register
from instar_controller.clients.plans import PlanRepository
from instar_controller.engines.registry import Registry

if __name__ == "__main__":
    repository = PlanRepository(Path(sys.argv[1]))
    registry = Registry(repository, CHEAP)
    first, second = models(2)
    register(registry, [first])
    with caught_planning(registry, repository, second, "second") as pid:
        print(pid, flush=True)
        sys.stdin.read()
"""


def test_a_killed_process_loses_no_pair(
    make_registry: Callable[..., Registry], repository: PlanRepository, caplog: pytest.LogCaptureFixture
) -> None:
    packages = models(4)
    registry = make_registry()
    register(registry, packages[:1])
    for package in packages[1:3]:
        caplog.clear()
        with caught_planning(registry, repository, package, package.digest) as pid:
            os.kill(pid, signal.SIGKILL)
        assert registry.wait(WAIT_S)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "ended with BrokenProcessPool" in caplog.text
    registry.register("last", packages[3])
    assert registry.wait(WAIT_S)
    assert sum(check_every_pair(registry, repository, packages)) == 16
    assert 10 <= registry.computed < 16  # what the killed ones had finished was kept


def test_a_process_that_plans_ends_with_its_parent(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    path = os.pathsep.join([str(HERE), str(HERE.parents[2])])
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "plans")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )
    with parent:
        assert parent.stdout is not None
        pidfd = os.pidfd_open(int(parent.stdout.readline()))
        parent.kill()
        poll = select.poll()
        poll.register(pidfd, select.POLLIN)
        assert poll.poll(WAIT_S * 1000)
        os.close(pidfd)
