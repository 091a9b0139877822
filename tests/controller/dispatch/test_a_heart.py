"""A node that nobody hears does nothing, and is heard again in another life."""

from __future__ import annotations

import pytest
from planes import DispatcherProcess, NodeProcess, World, joined

from instar_controller.engines import reports
from instar_controller.policies.nodes import Heartbeat, Stage


def beats(world: World) -> list[Heartbeat]:
    news = [reports.parse_news(value) for value in world.bus.sent("instar-nodes")]
    return [it for it in news if isinstance(it, Heartbeat)]


@pytest.fixture
def node(world: World) -> NodeProcess:
    made = NodeProcess(world, "a")
    made.beat()
    return made


def test_a_node_may_act_for_as_long_as_it_is_heard(world: World, node: NodeProcess) -> None:
    heart = node.membership.heart
    life = heart.incarnation
    for _ in range(20):
        assert heart.may_act(life)
        world.clock.s += 4.9
        node.beat()
    assert heart.incarnation == life
    assert not heart.may_act("another life")


def test_after_five_seconds_unheard_it_may_not(world: World, node: NodeProcess) -> None:
    heart = node.membership.heart
    world.clock.s += 4.9
    assert heart.may_act(heart.incarnation)
    world.clock.s += 0.1
    assert not heart.may_act(heart.incarnation)


def test_what_counts_is_when_a_heartbeat_was_sent(world: World, node: NodeProcess) -> None:
    heart = node.membership.heart
    world.bus.hold()
    world.clock.s += 1
    node.beat()
    world.clock.s += 3.5
    world.bus.release()
    world.clock.s += 1.4
    assert heart.may_act(heart.incarnation)
    world.clock.s += 0.1
    assert not heart.may_act(heart.incarnation)


def test_a_life_that_has_let_something_lie_does_not_go_on(world: World, node: NodeProcess) -> None:
    heart = node.membership.heart
    life = heart.incarnation
    world.clock.s += 4
    world.bus.hold()
    node.beat()
    world.clock.s += 1
    assert not heart.may_act(life)
    world.bus.release()  # it was heard after all
    assert not heart.may_act(life)
    node.beat()
    assert heart.incarnation != life
    assert heart.may_act(heart.incarnation)


def test_a_new_life_begins_where_the_old_one_stood(world: World, node: NodeProcess) -> None:
    dispatcher = DispatcherProcess(world)
    joined(dispatcher, node)
    world.invoke("f")
    dispatcher.all()
    node.take()
    world.clock.s += 6
    node.beat()
    last = beats(world)[-1]
    assert last.began == last.position > 0
    assert not last.unfinished, "the old life's work is not the new one's"


def test_a_new_life_waits_for_the_old_ones_answers(world: World, node: NodeProcess) -> None:
    life = node.membership.heart.incarnation
    world.bus.hold()
    node.membership.answers.send("completed0", b"{}")
    world.clock.s += 6
    node.beat()
    assert node.membership.heart.incarnation == life
    world.bus.release()
    node.beat()
    assert node.membership.heart.incarnation != life


def test_a_heartbeat_tells_what_is_unfinished(world: World, node: NodeProcess) -> None:
    dispatcher = DispatcherProcess(world, 1)
    joined(dispatcher, node)
    id = world.invoke("f", number=1)
    dispatcher.all()
    node.take()
    node.beat()
    beat = beats(world)[-1]
    assert [it.id for it in beat.unfinished[1]] == [id]
    assert beat.busy_mb == {1: 256}
    assert beat.position > beat.unfinished[1][0].offset >= beat.began
    node.all()
    node.beat()
    assert not beats(world)[-1].unfinished
    assert [reports.parse_report(value).finished for value in world.bus.sent("instar-dispatcher-1")] == [(id,)]


def test_a_report_that_did_not_arrive_is_sent_again(world: World, node: NodeProcess) -> None:
    dispatcher = DispatcherProcess(world)
    joined(dispatcher, node)
    id = world.invoke("f")
    dispatcher.all()
    world.bus.refuse("instar-dispatcher-0")
    node.all()
    assert not world.bus.sent("instar-dispatcher-0")
    world.bus.accept("instar-dispatcher-0")
    node.beat()
    assert [reports.parse_report(value).finished for value in world.bus.sent("instar-dispatcher-0")] == [(id,)]


def test_the_last_heartbeat_says_that_the_node_has_gone(world: World, node: NodeProcess) -> None:
    heart = node.membership.heart
    node.membership.disable()
    node.beat()
    assert not node.membership.is_enabled
    heart.say_goodbye()
    assert [it.stage for it in beats(world)] == [Stage.WORKING, Stage.LEAVING, Stage.GONE]
    assert not heart.may_act(heart.incarnation)
