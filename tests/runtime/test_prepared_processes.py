"""An idle container forks beforehand what its next function will need, and does without if that has gone."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.runtime.containers import Container, await_end
from tests.runtime.isolated import Isolated, needs_root
from tests.runtime.successions import GIVEN, Packed, archive, become, how, plan_between, start

pytestmark = pytest.mark.system

SOON_S = 60
LEFT = f"/tmp/instar-left-{os.getpid()}"


def below(container: Container, name: str) -> list[int]:
    """The zygote's children of this name."""
    zygote = container.processes().get("zygote")
    children = Path(f"/proc/{zygote}/task/{zygote}/children").read_text().split()
    found = []
    for pid in children:
        with contextlib.suppress(OSError):  # one that was killed before is reaped just now
            if Path(f"/proc/{pid}/comm").read_text().strip() == name:
                found.append(int(pid))
    return found


def awaited(container: Container, name: str) -> int:
    """The child of this name, once there is one: nothing tells when a process forks, so this looks."""
    pause = threading.Event()
    for _ in range(SOON_S * 50):
        if found := below(container, name):
            return found[0]
        pause.wait(0.02)
    raise AssertionError(f"no {name} after {SOON_S} s")


@pytest.fixture
def isolated() -> Iterator[Isolated]:
    container = Isolated("--isolate", environ=GIVEN)
    yield container
    container.close()


def test_a_process_that_waits_becomes_the_next_worker(given: Container, packed: dict[str, Packed]) -> None:
    one, two = packed["one"].folder, packed["two"].folder
    start(given, archive("old", one))
    spare = awaited(given, "instar-spare")
    assert how(become(given, archive("new", two), plan_between(one, two))) == ("transformed", "two")
    assert given.processes()["worker"] == spare
    assert packed["two"].answered(given.run())


def test_one_that_was_killed_costs_a_fork_and_nothing_else(given: Container, packed: dict[str, Packed]) -> None:
    one, two = packed["one"].folder, packed["two"].folder
    start(given, archive("old", one))
    spare = awaited(given, "instar-spare")
    os.kill(spare, signal.SIGKILL)
    await_end(spare)
    assert how(become(given, archive("new", two), plan_between(one, two))) == ("transformed", "two")
    assert packed["two"].answered(given.run())


@needs_root
@pytest.mark.parametrize("kill", [(), ("instar-reaper",), ("instar-reaper", "instar-spare")], ids=len)
def test_so_does_one_that_waits_to_remove_what_an_isolated_function_leaves(
    isolated: Isolated, packed: dict[str, Packed], kill: tuple[str, ...]
) -> None:
    one, two = packed["one"].folder, packed["two"].folder
    start(isolated, archive("old", one))
    assert isolated.run({"do": f"[open({LEFT!r}, 'w').write('x')]"}).status == 200
    reaper = awaited(isolated, "instar-reaper")
    for name in kill:
        pid = awaited(isolated, name)
        os.kill(pid, signal.SIGKILL)
        await_end(pid)
    assert how(become(isolated, archive("new", two), plan_between(one, two))) == ("transformed", "two")
    await_end(reaper)
    assert not Path(LEFT).exists()
    assert packed["two"].answered(isolated.run())


def test_what_waits_ends_with_the_container(given: Container, packed: dict[str, Packed]) -> None:
    start(given, archive("old", packed["one"].folder))
    spare = awaited(given, "instar-spare")
    os.kill(given.processes()["zygote"], signal.SIGKILL)
    given.await_end()
    await_end(spare)


def test_a_container_that_can_become_nothing_else_prepares_nothing(
    container: Container, given_spares: Callable[[], Container]
) -> None:
    given = given_spares()
    try:
        assert b"--spare" in Path(f"/proc/{started(given)}/cmdline").read_bytes()
    finally:
        given.close()
    assert b"--spare" not in Path(f"/proc/{started(container)}/cmdline").read_bytes()


def started(container: Container) -> int:
    """The zygote's pid, once it is there."""
    assert container.send("GET", "/ready", None).status == 200
    return container.processes()["zygote"]
