"""Activations go from their controller by a dispatcher to nodes, which answer in its name."""

from __future__ import annotations

import json

import pytest
from planes import ACTION_MB, CONTROLLER, DispatcherProcess, NodeProcess, World, joined, settled

from instar_controller.engines import envelopes, refusals
from instar_controller.engines.dispatcher import DispatcherSettings
from instar_controller.engines.envelopes import Envelope
from instar_controller.whisk import acks
from instar_controller.whisk.acks import CombinedMessage


def envelopes_of(world: World, name: str) -> list[Envelope]:
    parcels = [envelopes.parse(value) for value in world.bus.sent(f"instar-node-{name}")]
    return [parcel for parcel in parcels if isinstance(parcel, Envelope)]


def test_an_activation_is_carried_out_by_a_node_and_answered_once(world: World) -> None:
    dispatcher, node = DispatcherProcess(world), NodeProcess(world, "a")
    id = world.invoke("f")
    settled(world, dispatcher, node)
    assert world.starts[id] == world.results[id] == world.completions[id] == 1
    snapshot = dispatcher.engine.snapshot()
    assert (snapshot.open, snapshot.uncommitted, snapshot.waiting) == (0, 0, 0)


def test_an_envelope_names_the_invoker_and_carries_the_message_as_it_came(world: World) -> None:
    dispatcher, node = DispatcherProcess(world, 0), NodeProcess(world, "a")
    world.invoke("f")
    settled(world, dispatcher, node)
    (value,) = [value for value in world.bus.sent("instar-node-a") if b'"message"' in value]
    (sent,) = world.bus.sent("invoker0")
    assert sent in value
    assert json.loads(value)["message"] == json.loads(sent)
    assert json.loads(value)["instance"]["instance"] == 0
    assert json.loads(value)["incarnation"] == node.membership.heart.incarnation


def test_nodes_get_no_more_than_they_have_room_for_and_the_rest_waits_in_order(world: World) -> None:
    dispatcher, node = DispatcherProcess(world), NodeProcess(world, "a", memory_mb=2 * ACTION_MB)
    ids = [world.invoke("f") for _ in range(5)]
    for _ in range(3):
        node.beat()
        dispatcher.all()
    assert [it.message.activation_id for it in envelopes_of(world, "a")] == ids[:2]
    assert dispatcher.engine.snapshot().waiting == 3
    settled(world, dispatcher, node)
    assert [it.message.activation_id for it in envelopes_of(world, "a")] == ids
    assert [world.completions[id] for id in ids] == [1] * 5


def test_two_dispatchers_share_the_room_of_a_node(world: World) -> None:
    node = NodeProcess(world, "a", memory_mb=2 * ACTION_MB)
    first, second = DispatcherProcess(world, 0), DispatcherProcess(world, 1)
    joined(first, node)
    joined(second, node)
    ids = [world.invoke("f", number=0) for _ in range(2)]
    first.all()
    node.take()
    world.clock.s += 1
    node.beat()  # tells the other one what it has taken over
    second.all()
    later = world.invoke("g", number=1)
    second.all()
    assert {it.message.activation_id for it in envelopes_of(world, "a")} == set(ids)
    settled(world, first, second, node)
    assert world.completions[later] == 1


def test_work_goes_on_although_a_report_never_comes(world: World) -> None:
    dispatcher, node = DispatcherProcess(world), NodeProcess(world, "a", memory_mb=ACTION_MB)
    first = world.invoke("f")
    joined(dispatcher, node)
    world.bus.refuse("instar-dispatcher-0")
    settled(world, dispatcher, node)
    world.bus.accept("instar-dispatcher-0")
    second = world.invoke("f")
    settled(world, dispatcher, node)
    assert world.completions[first] == world.completions[second] == 1
    assert dispatcher.engine.snapshot().open == 0


def test_without_a_node_an_activation_waits_and_is_then_answered_with_an_error(world: World) -> None:
    dispatcher = DispatcherProcess(world)
    id = world.invoke("f")
    settled(world, dispatcher, seconds=59)
    assert world.open() == {id}
    settled(world, dispatcher, seconds=3)
    assert world.system_errors[id] == world.completions[id] == 1
    assert [(it.activation_id, it.response.result) for it in world.kept.records] == [
        (id, {"error": refusals.NO_NODE})
    ]
    assert dispatcher.engine.snapshot().uncommitted == 0


def test_who_does_not_wait_gets_only_the_id_of_what_failed(world: World) -> None:
    dispatcher = DispatcherProcess(world)
    id = world.invoke("f", blocking=False)
    settled(world, dispatcher, seconds=63)
    (ack,) = [acks.parse(value) for value in world.bus.sent(CONTROLLER)]
    assert isinstance(ack, CombinedMessage)
    assert ack.response == id


def test_more_is_read_only_when_what_was_read_has_gone(world: World) -> None:
    settings = DispatcherSettings(poll_s=0.0, commit_s=0.0, most_waiting=3)
    dispatcher = DispatcherProcess(world, settings=settings)
    for _ in range(10):
        world.invoke("f")
    for _ in range(5):
        dispatcher.all()
    assert dispatcher.engine.counters.read == 3
    settled(world, dispatcher, NodeProcess(world, "a"), seconds=30)
    assert not world.open()


def test_a_message_that_makes_no_sense_keeps_nobody_waiting(world: World) -> None:
    dispatcher, node = DispatcherProcess(world), NodeProcess(world, "a")
    for poison in (b"", b"\xff", b"[]", b"{}", b'{"activationId":"x"}', b"[" * 10_000):
        world.bus.send("invoker0", poison)
    id = world.invoke("f")
    settled(world, dispatcher, node)
    assert world.completions[id] == 1
    assert dispatcher.engine.counters.malformed == 6
    assert dispatcher.engine.snapshot().uncommitted == 0


def test_a_message_that_comes_twice_is_sent_once(world: World) -> None:
    dispatcher, node = DispatcherProcess(world), NodeProcess(world, "a")
    id = world.invoke("f")
    (value,) = world.bus.sent("invoker0")
    world.bus.send("invoker0", value)
    settled(world, dispatcher, node)
    assert world.starts[id] == world.completions[id] == 1
    assert dispatcher.engine.counters.repeated == 1


def test_what_is_too_large_for_a_node_is_answered_with_an_error(world: World) -> None:
    dispatcher, node = DispatcherProcess(world), NodeProcess(world, "a")
    node.beat()
    world.bus._topics["instar-node-a"].settings = type(world.bus._topics["instar-node-a"].settings)(
        max_message_bytes=300
    )
    id = world.invoke("f")
    settled(world, dispatcher, node)
    assert world.system_errors[id] == 1
    assert world.kept.records[0].response.result == {"error": refusals.TOO_LARGE}


@pytest.mark.parametrize("seconds", [3, 9])
def test_a_silent_node_gets_nothing_but_keeps_what_it_has(world: World, seconds: int) -> None:
    dispatcher, a = DispatcherProcess(world), NodeProcess(world, "a")
    joined(dispatcher, a)
    first = world.invoke("f")
    dispatcher.all()
    settled(world, dispatcher, seconds=seconds)
    second = world.invoke("f")
    dispatcher.all()
    assert [it.message.activation_id for it in envelopes_of(world, "a")] == [first]
    joined(dispatcher, NodeProcess(world, "b"))
    assert [it.message.activation_id for it in envelopes_of(world, "b")] == [second]
