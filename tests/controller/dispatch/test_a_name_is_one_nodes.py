"""No two programs are one node: who comes finds out whether the name is free, who was away whether it still is."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

import pytest
from planes import Line, NodeProcess, World

from instar_controller.clients import owners
from instar_controller.cluster_ports import TopicSettings
from instar_controller.engines.claim import RENEW_S, Claim
from instar_controller.engines.naming import Name

WAIT_S = 30.0


@pytest.fixture
def world() -> World:
    made = World()
    for topic in (made.topics.node("a"), made.topics.nodes):
        made.bus.ensure_topic(topic, TopicSettings())
    return made


def name(world: World, owner: str, line: Line | None = None) -> Name:
    return Name(line or Line(world.bus), world.topics, "a", owner=owner, silence_s=5.0, now=world.clock.now_s)


class Waiting:
    """Somebody who waits for the name, in a thread of its own."""

    def __init__(self, name: Name) -> None:
        self.stopped = threading.Event()
        self._has_it: Future[bool] = Future()
        self._thread = threading.Thread(target=lambda: self._has_it.set_result(name.obtain(self.stopped)))
        self._thread.start()

    def has_it(self) -> bool:
        return self._has_it.result(WAIT_S)


def eventually(act: Callable[[], None], is_so: Callable[[], bool]) -> None:
    """Do it again and again until it has had its effect."""
    pause = threading.Event()
    for _ in range(int(WAIT_S / 0.05)):
        if is_so():
            return
        act()
        pause.wait(0.05)
    raise AssertionError("it has no effect")


def markers(world: World) -> int:
    return sum(b'"marker"' in value for value in world.bus.sent(world.topics.nodes))


def test_a_name_that_nobody_had_is_free_at_once(world: World) -> None:
    assert name(world, "x").obtain(threading.Event())
    assert markers(world) == 0


def test_a_name_is_its_owners_at_once_whatever_became_of_its_last_life(world: World) -> None:
    assert name(world, "x").obtain(threading.Event())
    assert name(world, "x").obtain(threading.Event())
    assert markers(world) == 0


def test_another_gets_it_when_nothing_was_heard_for_long_enough(world: World) -> None:
    assert name(world, "x").obtain(threading.Event())
    waiting = Waiting(name(world, "y"))

    def let_pass() -> None:
        world.clock.s += 1.0

    eventually(let_pass, lambda: markers(world) > 0)
    assert waiting.has_it()
    assert not name(world, "x").is_ours()
    assert name(world, "y").is_ours()


def test_another_waits_while_it_is_heard_and_gets_it_when_it_has_gone(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    assert name(world, "x").obtain(threading.Event())
    node = NodeProcess(world, "a")
    waiting = Waiting(name(world, "y"))
    eventually(node.beat, lambda: "another program is node a; this one begins when" in caplog.text)
    world.clock.s += 4.9
    node.beat()
    node.go()
    assert waiting.has_it()
    assert markers(world) == 0, "it had no need to ask whether it has heard everything"


def test_who_is_stopped_meanwhile_does_not_get_it(world: World) -> None:
    assert name(world, "x").obtain(threading.Event())
    waiting = Waiting(name(world, "y"))
    waiting.stopped.set()
    assert not waiting.has_it()
    assert name(world, "x").is_ours()


def test_while_the_bus_is_away_nobody_gets_it_and_it_is_nobodys(world: World) -> None:
    line = Line(world.bus)
    line.is_cut = True
    waiting = Waiting(name(world, "x", line))
    assert not name(world, "x", line).is_ours()
    line.is_cut = False
    assert waiting.has_it()
    assert name(world, "x", line).is_ours()


def test_what_the_broker_has_lost_is_noted_again(world: World) -> None:
    assert name(world, "x").is_ours()
    assert not name(world, "y").is_ours()


def test_a_name_is_noted_again_before_a_broker_would_forget_it_and_not_over_anothers(world: World) -> None:
    topic = world.topics.node("a")
    mine = name(world, "x")
    assert mine.obtain(threading.Event())
    world.bus.lose(topic)
    world.bus.ensure_topic(topic, TopicSettings())
    mine.keep()
    claim = Claim(Line(world.bus), topic, "x")
    assert claim.last() == "", "that would be a question to the broker with each heartbeat"
    world.clock.s += RENEW_S
    mine.keep()
    assert claim.last() == "x"
    Claim(Line(world.bus), topic, "y").take()
    world.clock.s += RENEW_S
    mine.keep()
    assert claim.last() == "y"


def test_a_node_whose_name_was_taken_does_not_live_on_and_says_goodbye_for_nobody(world: World) -> None:
    node = NodeProcess(world, "a")
    node.beat()
    world.clock.s += 6.0
    Claim(Line(world.bus), world.topics.node("a"), "another").take()
    before = len(world.bus.sent(world.topics.nodes))
    life = node.membership.heart.incarnation
    node.beat()
    node.go()
    assert node.membership.heart.incarnation == life
    assert not node.membership.heart.may_act(life)
    assert len(world.bus.sent(world.topics.nodes)) == before


def test_a_node_that_ends_before_it_has_its_name_was_never_there(world: World) -> None:
    assert name(world, "another").obtain(threading.Event())
    node = NodeProcess(world, "a")
    node.membership.begin(0)
    node.membership.disable()
    node.membership.close()
    assert world.bus.sent(world.topics.nodes) == []


def test_the_owner_of_a_state_directory_is_the_same_each_time(tmp_path: Path) -> None:
    folder = tmp_path / "state"
    first = owners.of(folder)
    assert owners.of(folder) == first
    assert owners.of(tmp_path / "another") != first


@pytest.mark.parametrize("damage", [b"", b"\xff\xfe", b"x" * 32, b"0" * 31, b"0" * 33])
def test_a_damaged_owner_is_drawn_anew_and_kept(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / owners.FILE).write_bytes(damage)
    drawn = owners.of(tmp_path)
    assert owners.of(tmp_path) == drawn


def test_where_nothing_can_be_kept_each_life_is_another(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    folder = tmp_path / "file" / "state"
    assert owners.of(folder) != owners.of(folder)
    assert "the next start is taken for somebody else" in caplog.text
