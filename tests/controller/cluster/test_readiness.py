"""A program asks for work while it can do some, and reads what was sent all the same before nobody waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from instar_controller.clients.memory_bus import MemoryBus
from instar_controller.errors import UnansweredError
from instar_controller.policies.readiness import HOLD_S, Appetite, appetite, obstacles
from instar_controller.readiness import Asker, Gate, Health

WAIT_S = 30.0  # for anything that is sure to happen
GONE = "the Docker engine does not answer"


class Turned:
    """A switch that keeps how it was turned."""

    def __init__(self) -> None:
        self.turns: list[str] = []

    @property
    def is_enabled(self) -> bool:
        return self.turns[-1:] != ["off"]

    def enable(self) -> None:
        self.turns.append("on")

    def disable(self) -> None:
        self.turns.append("off")


class Hand:
    """A clock that a test sets."""

    s = 100.0


@pytest.fixture
def switch() -> Turned:
    return Turned()


@pytest.fixture
def hand() -> Hand:
    return Hand()


@pytest.fixture
def gate(switch: Turned, hand: Hand) -> Gate:
    return Gate(switch, now_s=lambda: hand.s)


@pytest.mark.parametrize(
    ("is_wanted", "away_s", "expected"),
    [
        (True, None, Appetite(asks=True, reads=True)),
        (False, None, Appetite(asks=False, reads=True)),
        (True, 0.0, Appetite(asks=False, reads=False)),
        (False, 0.0, Appetite(asks=False, reads=False)),
        (True, HOLD_S - 0.001, Appetite(asks=False, reads=False)),
        (True, HOLD_S, Appetite(asks=False, reads=True)),
    ],
)
def test_appetite(is_wanted: bool, away_s: float | None, expected: Appetite) -> None:
    assert appetite(is_wanted=is_wanted, away_s=away_s) == expected


def test_the_phase_is_told_before_what_does_not_answer() -> None:
    assert obstacles("it is starting", {"bus": None, "engine": GONE}) == ["it is starting", GONE]
    assert obstacles(None, {"bus": None}) == []


def test_no_work_is_asked_for_while_no_container_can_be_made(gate: Gate, switch: Turned) -> None:
    gate.hear(None)
    assert switch.turns == []
    gate.hear(GONE)
    gate.hear(f"{GONE}, still")
    gate.hear(None)
    gate.hear(None)
    assert switch.turns == ["off", "on"]


def test_an_operator_is_heard_as_soon_as_there_is_an_engine_again(gate: Gate, switch: Turned) -> None:
    gate.hear(GONE)
    gate.disable()
    assert not gate.is_enabled
    gate.hear(None)
    assert switch.turns == ["off"] * 3
    gate.hear(GONE)
    gate.enable()
    assert gate.is_enabled
    assert switch.turns[-1] == "off"
    gate.hear(None)
    assert switch.turns[-1] == "on"


def test_what_was_sent_is_held_for_a_minute(gate: Gate, hand: Hand) -> None:
    assert gate.wait_until_reading(0) and not gate.is_held
    gate.hear(GONE)
    for later_s in (0.0, HOLD_S - 1):
        hand.s += later_s
        assert not gate.wait_until_reading(0) and gate.is_held
    hand.s += 1
    assert gate.wait_until_reading(0) and not gate.is_held
    gate.hear(None)
    gate.hear(GONE)  # and again for the next time
    assert not gate.wait_until_reading(0)


def test_a_reader_goes_on_at_once_when_the_engine_is_back(gate: Gate) -> None:
    gate.hear(GONE)
    found: list[bool] = []
    reader = threading.Thread(target=lambda: found.append(gate.wait_until_reading(WAIT_S)))
    reader.start()
    while not gate.is_held:
        time.sleep(0.001)
    gate.hear(None)
    reader.join(WAIT_S)
    assert found == [True]


def test_once_it_is_closed_nothing_is_turned_and_nobody_waits(gate: Gate, switch: Turned) -> None:
    gate.hear(GONE)
    gate.close()
    gate.hear(None)
    gate.enable()
    assert switch.turns == ["off"]
    gate.hear(GONE)
    assert not gate.wait_until_reading(600)  # longer than this test may take


class Answers:
    """Something outside whose answers a test sets; `next` waits until it was asked and its answer was heard."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.heard = threading.Semaphore(0)

    def ask(self) -> None:
        if self.error is not None:
            raise self.error

    def hear(self, _trouble: str | None) -> None:
        self.heard.release()

    def wait(self) -> None:
        """Wait for an answer that was asked for from now on."""
        while self.heard.acquire(blocking=False):
            pass
        for _ in range(2):  # the first one may have been given before
            assert self.heard.acquire(timeout=WAIT_S)


@pytest.fixture
def outside() -> Answers:
    return Answers()


@pytest.fixture
def asker(outside: Answers) -> Iterator[Asker]:
    made = Asker("engine", outside.ask, every_s=0.001, on_answer=outside.hear)
    yield made
    made.close()


def test_what_is_told_is_the_last_answer(outside: Answers, asker: Asker) -> None:
    health = Health(MemoryBus())
    health.begin()
    assert health.obstacles() == []
    assert asker.trouble == "the engine was not asked yet"
    health.watch(asker)
    outside.wait()
    assert (health.obstacles(), health.answers()) == ([], {"bus": 1.0, "engine": 1.0})
    outside.error = UnansweredError(GONE)
    outside.wait()
    assert (health.obstacles(), health.answers()) == ([GONE], {"bus": 1.0, "engine": 0.0})
    outside.error = None
    outside.wait()
    assert health.obstacles() == []
    health.close()


def test_a_mistake_of_ours_looks_like_no_answer_and_ends_nothing(outside: Answers, asker: Asker) -> None:
    outside.error = ZeroDivisionError("our mistake")
    asker.start()
    outside.wait()
    assert asker.trouble == "the engine cannot be asked: ZeroDivisionError('our mistake')"
    outside.error = None
    outside.wait()
    assert asker.trouble is None
