"""A container that becomes another function and back, again and again, stays as large as it was."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import instar
from tests.runtime import successions
from tests.runtime.containers import Container
from tests.runtime.successions import Packed, archive, become, how, plan_between
from tests.survival import growth

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

ROUNDS, ALL_ROUNDS = 20, 200
WARM_UP = 10
MOST_MIB = 5
REST_S = 60  # most time until a process waits for the next function
LOOK_S = 0.05


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    container = Container(tmp_path / "container", environ=successions.GIVEN)
    yield container
    container.close()


def test_twenty_changes_and_back_leave_a_container_as_it_was(container: Container, tmp_path: Path) -> None:
    check(container, tmp_path, ROUNDS)


@pytest.mark.slow
def test_two_hundred_changes_and_back_leave_a_container_as_it_was(container: Container, tmp_path: Path) -> None:
    check(container, tmp_path, ALL_ROUNDS)


def check(container: Container, folder: Path, rounds: int) -> None:
    """One round: to a sibling, to a model of another structure, and back to the first."""
    packed = successions.pack(folder / "packages")
    packed["small"] = small(folder / "small")
    names = ("one", "two", "small")
    codes = {name: archive(name, packed[name].folder) for name in names}
    plans = {(a, b): plan_between(packed[a].folder, packed[b].folder) for a in names for b in names}
    successions.start(container, codes["one"])
    now = "one"

    def go(number: int) -> None:
        nonlocal now
        for name in ("two", "small", "one"):
            assert how(become(container, codes[name], plans[now, name])) == ("transformed", name)
            assert packed[name].answered(container.run())
            now = name

    grown = growth.measure(container, go, runs=rounds, warm_up=WARM_UP, come_to_rest=lambda: await_spare(container))
    print(grown)
    assert grown.mib <= MOST_MIB
    assert grown.descriptors <= 0
    assert grown.mappings < rounds // 2  # heaps of threads come and go; one a change would be three a round
    assert len(list(container.work.iterdir())) == 1


def await_spare(container: Container) -> None:
    """Wait for the process that is forked for the next function in an idle moment: what it shares with the others
    counts for less of theirs."""
    deadline_s = time.monotonic() + REST_S
    while "instar-spare" not in map(name_of, container.group()):
        assert time.monotonic() < deadline_s, "nothing is ready for the next function"
        time.sleep(LOOK_S)


def name_of(pid: int) -> str:
    with contextlib.suppress(OSError):  # it has ended
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return ""


def small(folder: Path) -> Packed:
    """A model of another structure, with an archive so small that the proxy's memory does not depend on it."""
    module = torch.nn.Sequential(torch.nn.Linear(16, 32), torch.nn.GELU(), torch.nn.Linear(32, 4)).eval()
    instar.pack(module, {"input": torch.zeros(2, 16)}, folder)
    return Packed(folder, module, (16,))
