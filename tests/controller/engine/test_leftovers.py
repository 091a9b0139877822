"""What bears our label and is nobody's is removed as soon as the engine does it, however often it has to be asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest

from instar_controller.clients.docker.leftovers import Leftovers
from instar_controller.errors import ContainerError, UnansweredError

WAIT_S = 30.0  # for anything that is sure to happen


class Engine:
    """An engine with containers, which a test breaks: `is_silent` altogether, or does not remove those in `stuck`."""

    def __init__(self) -> None:
        self.there: set[str] = set()
        self.ours: set[str] = set()
        self.stuck: set[str] = set()
        self.is_silent = False
        self.looks = 0

    def labelled(self) -> list[str]:
        self.looks += 1
        if self.is_silent:
            raise UnansweredError("no answer")
        return sorted(self.there)

    def remove(self, name: str) -> None:
        if name in self.stuck:
            raise ContainerError(f"container {name} cannot be removed: busy")
        self.there.discard(name)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.001)


def looking() -> bool:
    return any(thread.name == "instar-leftovers" for thread in threading.enumerate())


@pytest.fixture
def engine() -> Engine:
    return Engine()


@pytest.fixture
def make(engine: Engine) -> Iterator[Callable[..., Leftovers]]:
    made: list[Leftovers] = []

    def make(*, settled_s: float = 60.0) -> Leftovers:
        leftovers = Leftovers(
            engine.labelled, engine.ours.__contains__, engine.remove, pause_s=0.001, settled_s=settled_s
        )
        made.append(leftovers)
        return leftovers

    yield make
    for each in made:
        each.close()
    wait_until(lambda: not looking())


def test_nobody_looks_before_there_was_trouble(engine: Engine, make: Callable[..., Leftovers]) -> None:
    leftovers = make()
    assert not leftovers.close()
    assert engine.looks == 0


def test_what_is_nobodys_goes_and_what_is_ours_stays(engine: Engine, make: Callable[..., Leftovers]) -> None:
    engine.there, engine.ours = {"c1", "c2"}, {"c2"}
    make().expect()
    wait_until(lambda: engine.there == {"c2"})


def test_an_engine_that_is_away_is_asked_until_it_is_back(engine: Engine, make: Callable[..., Leftovers]) -> None:
    engine.there, engine.is_silent = {"c1"}, True
    make().expect()
    wait_until(lambda: engine.looks > 3)
    assert engine.there == {"c1"}
    engine.is_silent = False
    wait_until(lambda: not engine.there)


def test_what_is_made_late_goes_too(engine: Engine, make: Callable[..., Leftovers]) -> None:
    make().expect()
    wait_until(lambda: engine.looks > 2)
    engine.there = {"late"}
    wait_until(lambda: not engine.there)


def test_what_cannot_be_removed_keeps_no_other_and_is_told_once(
    engine: Engine, make: Callable[..., Leftovers], caplog: pytest.LogCaptureFixture
) -> None:
    engine.there, engine.stuck = {"c1", "c2"}, {"c1"}
    make().expect()
    wait_until(lambda: engine.there == {"c1"} and engine.looks > 4)
    engine.stuck = set()
    wait_until(lambda: not engine.there)
    assert caplog.text.count("container c1 cannot be removed: busy; it is tried again") == 1


def test_once_it_is_settled_nobody_looks_until_there_is_trouble_again(
    engine: Engine, make: Callable[..., Leftovers]
) -> None:
    leftovers = make(settled_s=0.0)
    leftovers.expect()
    wait_until(lambda: not looking())
    looks = engine.looks
    engine.there = {"c1"}
    leftovers.expect()
    wait_until(lambda: not engine.there)
    assert engine.looks > looks
    wait_until(lambda: not looking())
    assert not leftovers.close()


def test_at_the_end_it_is_told_that_there_may_be_some(engine: Engine, make: Callable[..., Leftovers]) -> None:
    engine.is_silent = True
    leftovers = make()
    leftovers.expect()
    assert leftovers.close()
    engine.is_silent, engine.there, engine.stuck = False, {"c1", "c2"}, {"c2"}
    assert leftovers.look() == ["c2"]
