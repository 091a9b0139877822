"""User events go out with the message that frees the slot, if they are wanted at all."""

from __future__ import annotations

from collections.abc import Callable

from rigs import EVENTS, WAIT_S, Cluster, Life

from instar_controller.whisk import events
from instar_controller.whisk.events import ActivationBody


def test_every_activation_has_one_event(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    node = make_node(with_events=True)
    cluster.put_action(code="def main(args):\n    return {'statusCode': 404}\n")
    run, missing = cluster.send(blocking=False), cluster.send("nosuch")
    told = [events.parse(value) for value in cluster.bus.wait_for(EVENTS, 2, timeout_s=WAIT_S)]
    node.written.wait_for(2)
    node.close()
    assert len(cluster.bus.sent(EVENTS)) == 2
    bodies = {event.body.activation_id: event.body for event in told if isinstance(event.body, ActivationBody)}
    assert set(bodies) == {run, missing}
    assert (bodies[run].name, bodies[run].kind, bodies[run].memory_mb) == ("guest/f", "python:3", 256)
    assert bodies[run].user_defined_status_code == 404
    assert (bodies[missing].kind, bodies[missing].memory_mb, bodies[missing].status_code) == ("unknown", 0, 1)
    assert {(event.source, event.user_id, event.namespace) for event in told} == {("invoker0", "the-uuid", "guest")}


def test_they_are_not_sent_if_nobody_wants_them(cluster: Cluster, node: Life) -> None:
    cluster.put_action()
    cluster.send()
    node.written.wait_for(1)
    node.close()
    assert cluster.bus.sent(EVENTS) == []


def test_a_bus_that_comes_back_gets_them_all(cluster: Cluster, make_node: Callable[..., Life]) -> None:
    node = make_node(with_events=True)
    cluster.put_action()
    cluster.send()
    node.written.wait_for(1)
    cluster.bus.refuse(EVENTS)
    cluster.send()
    node.written.wait_for(2)
    cluster.bus.accept(EVENTS)
    assert len(cluster.bus.wait_for(EVENTS, 2, timeout_s=WAIT_S)) == 2
