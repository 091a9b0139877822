"""No two programs are one node: who comes finds out whether the name is free, who was away whether it still is."""

from __future__ import annotations

from pathlib import Path

import pytest
from planes import Line, NodeProcess, World

from instar_controller.clients import owners
from instar_controller.cluster_ports import TopicSettings
from instar_controller.engines.claim import RENEW_S, Claim
from instar_controller.engines.naming import Name
from instar_controller.errors import BusError, NameTakenError


@pytest.fixture
def world() -> World:
    made = World()
    for topic in (made.topics.node("a"), made.topics.nodes):
        made.bus.ensure_topic(topic, TopicSettings())
    return made


def name(world: World, owner: str, line: Line | None = None) -> Name:
    return Name(line or Line(world.bus), world.topics, "a", owner=owner, silence_s=5.0, now=world.clock.now_s)


def markers(world: World) -> int:
    return sum(b'"marker"' in value for value in world.bus.sent(world.topics.nodes))


def test_a_name_that_nobody_had_is_free_at_once(world: World) -> None:
    name(world, "x").obtain()
    assert markers(world) == 0
    assert name(world, "x").is_ours()


def test_a_name_is_its_owners_at_once_whatever_became_of_its_last_life(world: World) -> None:
    name(world, "x").obtain()
    name(world, "x").obtain()
    assert markers(world) == 0


def test_another_gets_it_when_nothing_was_heard_for_long_enough(world: World) -> None:
    name(world, "x").obtain()
    waiting = name(world, "y")
    for _ in range(5):
        with pytest.raises(NameTakenError, match=r"another program is node a, .* of that one for 5 s"):
            waiting.obtain()
        assert name(world, "x").is_ours()
        world.clock.s += 1.0
    waiting.obtain()
    assert not name(world, "x").is_ours()
    assert name(world, "y").is_ours()


def test_it_is_no_matter_how_seldom_another_asks(world: World) -> None:
    name(world, "x").obtain()
    waiting = name(world, "y")
    for _ in range(2):
        with pytest.raises(NameTakenError):
            waiting.obtain()
        world.clock.s += 100.0
        world.bus.hold()  # its marker is still on its way when it looks
    world.bus.release()
    waiting.obtain()
    assert name(world, "y").is_ours()


def test_another_waits_while_it_is_heard_and_gets_it_when_it_has_gone(world: World) -> None:
    name(world, "x").obtain()
    node, waiting = NodeProcess(world, "a"), name(world, "y")
    for _ in range(20):
        with pytest.raises(NameTakenError):
            waiting.obtain()
        world.clock.s += 1.0
        node.beat()
    node.go()
    waiting.obtain()
    assert markers(world) == 0, "it had no need to ask whether it has heard everything"


def test_what_the_bus_has_kept_back_is_waited_for(world: World) -> None:
    """There may be a heartbeat in it."""
    name(world, "x").obtain()
    node, waiting = NodeProcess(world, "a"), name(world, "y")
    with pytest.raises(NameTakenError):
        waiting.obtain()
    world.bus.hold()
    node.beat()
    for _ in range(20):
        world.clock.s += 1.0
        with pytest.raises(NameTakenError):
            waiting.obtain()
    world.bus.release()
    with pytest.raises(NameTakenError):
        waiting.obtain()
    assert name(world, "x").is_ours()


def test_while_the_bus_is_away_nobody_gets_it_and_it_is_nobodys(world: World) -> None:
    line = Line(world.bus)
    line.is_cut = True
    mine = name(world, "x", line)
    with pytest.raises(BusError):
        mine.obtain()
    assert not mine.is_ours()
    line.is_cut = False
    mine.obtain()
    assert mine.is_ours()


def test_what_the_broker_has_lost_is_noted_again(world: World) -> None:
    assert name(world, "x").is_ours()
    assert not name(world, "y").is_ours()


def test_a_name_is_noted_again_before_a_broker_would_forget_it_and_not_over_anothers(world: World) -> None:
    topic = world.topics.node("a")
    mine = name(world, "x")
    mine.obtain()
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
