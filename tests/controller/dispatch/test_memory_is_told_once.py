"""A dispatcher tells controllers the memory of its nodes with its first ping, and so not before it has some."""

from __future__ import annotations

import threading

import pytest

from instar_controller.engines.registration import Registration, RegistrationSettings
from instar_controller.engines.tally import Counters, Snapshot

WAIT_S = 30.0  # for anything that is sure to happen
SETTINGS = RegistrationSettings(gather_s=0.01, look_s=0.01)


class Looked:
    """A dispatcher that knows of other nodes each time that it is asked, and of the last ones from then on."""

    def __init__(self, *memory_mb: list[int]) -> None:
        self._to_come = list(memory_mb)

    def snapshot(self) -> Snapshot:
        found = self._to_come.pop(0) if len(self._to_come) > 1 else self._to_come[0]
        return Snapshot(
            counters=Counters(),
            nodes_alive=len(found),
            nodes_settling=0,
            memory_mb=sum(found),
            busy_mb=0,
            waiting=0,
            open=0,
            uncommitted=0,
        )


class Pinged:
    """What is told to controllers."""

    is_enabled = True

    def __init__(self) -> None:
        self.memory_mb: list[int] = []
        self.is_heard = threading.Event()

    def of(self, memory_mb: int) -> Pinged:
        self.memory_mb.append(memory_mb)
        return self

    def start(self) -> None:
        self.is_heard.set()

    def close(self) -> None:
        pass

    def enable(self) -> None:
        pass

    disable = enable


@pytest.fixture
def pinged() -> Pinged:
    return Pinged()


@pytest.mark.parametrize(
    ("looks", "told_mb"),
    [
        pytest.param([[512], [512, 256]], 768, id="of all that come while it waits for them"),
        pytest.param([[], [], [512], [512]], 512, id="once there are any"),
        pytest.param([[512], [], [], [256], [256]], 256, id="and still are"),
    ],
)
def test_of_nodes_that_are_alive(pinged: Pinged, looks: list[list[int]], told_mb: int) -> None:
    registration = Registration(Looked(*looks), pinged.of, SETTINGS)  # type: ignore[arg-type]
    registration.start()
    assert pinged.is_heard.wait(WAIT_S)
    registration.close()
    assert pinged.memory_mb == [told_mb]


def test_to_nobody_if_it_ends_before(pinged: Pinged) -> None:
    registration = Registration(Looked([512], []), pinged.of, SETTINGS)  # type: ignore[arg-type]
    registration.start()
    registration.close()
    assert pinged.memory_mb == []
