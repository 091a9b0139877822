"""Nodes and dispatchers are killed, or stand still and come back: each activation is completed once all the same.

Invariant: one completion for each activation, at most one record, and both say the same; what had begun and may not
run twice is not begun again. What did not happen is told by a later event: by the end of the programs all that they
could have said is said.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
from clusters import ECHO, MEETING, Cluster
from meetings import Meeting
from programs import WAIT_S, RunningProgram
from whisk_controllers import Sent, action

# Each starts up to five programs, and waits until one of them is given up: that takes its time on a slow machine.
pytestmark = [pytest.mark.system, pytest.mark.timeout(300)]

LOST = {"error": "The node that ran the action was lost."}
MET = {"met": True}
MEMORY_MB = 256  # of each action here


def memory(jobs: int) -> Mapping[str, str]:
    """Of a node that takes over so many activations, and no more before one of them is finished."""
    return {
        "CONFIG_whisk_containerPool_userMemory": f"{jobs * MEMORY_MB}m",
        "CONFIG_whisk_memory_min": f"{MEMORY_MB}m",
    }


def put(cluster: Cluster, name: str, code: str = MEETING, *, concurrency: int = 1, **annotations: bool) -> str:
    """An action that may run for as long as any; its revision.

    With a `concurrency` of 2 dispatchers think that two calls share a container. A node gives each its own: so there
    can be one in its topic for which it has no room, for as long as a test wants.
    """
    document = dict(action(name, code, annotations))
    document["limits"] = {**document["limits"], "timeout": 300_000, "concurrency": concurrency}
    return cluster.databases.server.put(cluster.databases.entities, document)


def together(*starts: Callable[[], RunningProgram]) -> list[RunningProgram]:
    """Start programs at once, and wait until all of them work."""
    with ThreadPoolExecutor(len(starts)) as pool:
        return [started.result() for started in [pool.submit(start) for start in starts]]


def end(*programs: RunningProgram) -> None:
    """Have all of them end in order."""
    for program in programs:
        program.process.send_signal(signal.SIGTERM)
    assert [program.wait() for program in programs] == [0] * len(programs)


def comes_to(program: RunningProgram, value: float, name: str, **labels: str) -> None:
    """Wait until one of its metrics has this value."""
    program.wait_for_metric(lambda found: found == value, name, **labels)


def says(program: RunningProgram, text: str) -> None:
    """Wait until a line of its log has this text."""
    until(lambda: any(text in line for line in program.log), f"a line with '{text}'")


def until(is_so: Callable[[], bool], what: str) -> None:
    """Wait until it is so."""
    until_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < until_s, f"not in {WAIT_S} s: {what}"
        time.sleep(0.05)


def check(cluster: Cluster, *outcomes: tuple[Sent, object]) -> None:
    """Everything has ended: each activation has this result, one completion, and one record that says the same."""
    cluster.controller.hear_all()
    records = cluster.records()
    for sent, result in outcomes:
        assert len(sent.completions) == 1, sent.acks
        assert sent.response == (3 if result is LOST else 0, result)
        assert sent.completions[0].message["isSystemError"] is (result is LOST)
        assert records[sent.id]["response"]["statusCode"] == sent.response[0]
    assert set(records) == {sent.id for sent, _ in outcomes}
    assert cluster.controller.strange == []


def test_a_killed_nodes_work_is_answered_or_runs_elsewhere_for_each_of_two_dispatchers(cluster: Cluster) -> None:
    once = put(cluster, "guest/once", concurrency=2)
    again = put(cluster, "guest/again", at_least_once=True)
    lost, *dispatchers = together(
        lambda: cluster.node("a", **memory(3)), cluster.dispatcher, lambda: cluster.dispatcher(id=1)
    )
    for dispatcher in dispatchers:
        comes_to(dispatcher, 1, "instar_nodes", state="alive")
    with Meeting() as meeting:
        at = {"port": meeting.port}
        begun = [
            cluster.controller.invoke("guest/once", at, revision=once, invoker=f"invoker{number}")
            for number in (0, 1)
        ]
        repeated = cluster.controller.invoke("guest/again", at, revision=again)
        meeting.wait_for(3)
        unbegun = cluster.controller.invoke("guest/once", at, revision=once)
        comes_to(dispatchers[0], 3, "instar_dispatched", what="sent")
        kept = cluster.node("b", **memory(3))
        for dispatcher in dispatchers:
            comes_to(dispatcher, 2, "instar_nodes", state="alive")
        lost.end(signal.SIGKILL)
        meeting.wait_for(5)  # two begin at the other node
        for sent in begun:
            cluster.controller.completion(sent)
    for sent in (repeated, unbegun):
        cluster.controller.completion(sent)
    assert [sent.completions[0].message["instance"]["instance"] for sent in begun] == [0, 1]
    comes_to(dispatchers[0], 2, "instar_dispatched", what="sent_again")
    comes_to(kept, 2, "instar_activations_total", status="success")
    for dispatcher in dispatchers:
        comes_to(dispatcher, 1, "instar_activations_total", status="whisk internal error")
        comes_to(dispatcher, 0, "instar_nodes", state="settling")
        assert dispatcher.metric("instar_dispatched", what="failed") == 1
        assert dispatcher.metric("instar_dispatched", what="lost_nodes") == 1
        comes_to(dispatcher, 1, "instar_nodes", state="alive")
    end(*dispatchers, kept)
    assert meeting.come == 5
    check(cluster, *((sent, LOST) for sent in begun), (repeated, MET), (unbegun, MET))


def test_a_node_that_was_given_up_comes_back_as_another_and_answers_for_itself_alone(cluster: Cluster) -> None:
    once = put(cluster, "guest/once")
    again = put(cluster, "guest/again", at_least_once=True)
    echo = put(cluster, "guest/echo", ECHO)
    node, dispatcher = together(lambda: cluster.node("a", **memory(4)), cluster.dispatcher)
    comes_to(dispatcher, 1, "instar_nodes", state="alive")
    with Meeting() as meeting:
        at = {"port": meeting.port}
        given_up = cluster.controller.invoke("guest/once", at, revision=once)
        given_back = cluster.controller.invoke("guest/again", at, revision=again)
        meeting.wait_for(2)
        node.process.send_signal(signal.SIGSTOP)
        assert cluster.controller.completion(given_up).message["isSystemError"] is True
        node.process.send_signal(signal.SIGCONT)
        comes_to(node, 1, "instar_messages_total", fate="joined")
        later = cluster.controller.invoke("guest/echo", {"a": 1}, revision=echo)
        cluster.controller.completion(later)
        assert not given_back.acks, "it runs"
    cluster.controller.completion(given_back)
    comes_to(node, 1, "instar_acks_total", kind="CompletionMessage", fate="failed")  # it has kept to itself
    comes_to(node, 2, "instar_activations_total", status="success")
    comes_to(dispatcher, 1, "instar_activations_total", status="whisk internal error")
    assert dispatcher.metric("instar_dispatched", what="sent_again") == 1
    assert node.metric("instar_messages_total", fate="run") == 3
    says(node, "nobody hears this node")
    end(dispatcher, node)
    assert meeting.come == 2
    check(cluster, (given_up, LOST), (given_back, MET), (later, {"a": 1}))


def test_a_second_program_under_a_nodes_name_waits_and_the_first_yields_once_nobody_has_heard_it(
    cluster: Cluster,
) -> None:
    once = put(cluster, "guest/once")
    echo = put(cluster, "guest/echo", ECHO)
    first, dispatcher = together(lambda: cluster.node("a", **memory(2)), cluster.dispatcher)
    comes_to(dispatcher, 1, "instar_nodes", state="alive")
    with Meeting() as meeting:
        begun = cluster.controller.invoke("guest/once", {"port": meeting.port}, revision=once)
        meeting.wait_for(1)
        second = cluster.begin_node("a", "--state", str(cluster.state("another")), **memory(2))
        says(second, "another program is node a, or was a moment ago")
        during = cluster.controller.invoke("guest/echo", {"n": 1}, revision=echo)
        assert cluster.controller.result(during) == {"n": 1}
        until(lambda: during.id in cluster.records(), "its record")  # the last that is said of it
        comes_to(first, 1, "instar_activations_total", status="success")
        first.process.send_signal(signal.SIGSTOP)
        second.event("working")
        assert cluster.controller.completion(begun).message["isSystemError"] is True
        first.process.send_signal(signal.SIGCONT)
        says(first, "another program is node a since nobody heard this one; it does nothing any more, end it")
    comes_to(first, 1, "instar_acks_total", kind="CompletionMessage", fate="failed")
    later = cluster.controller.invoke("guest/echo", {"n": 2}, revision=echo)
    assert cluster.controller.result(later) == {"n": 2}
    comes_to(second, 1, "instar_activations_total", status="success")
    end(first, dispatcher, second)
    check(cluster, (begun, LOST), (during, {"n": 1}), (later, {"n": 2}))


def test_a_killed_dispatchers_nodes_go_on_and_the_next_one_sends_nothing_twice(cluster: Cluster) -> None:
    once = put(cluster, "guest/once")
    first, *nodes = together(
        cluster.dispatcher, lambda: cluster.node("a", **memory(1)), lambda: cluster.node("b", **memory(1))
    )
    comes_to(first, 2, "instar_nodes", state="alive")
    with Meeting() as meeting:
        at = {"port": meeting.port}
        answered, running = (cluster.controller.invoke("guest/once", at, revision=once) for _ in range(2))
        meeting.wait_for(2)
        first.end(signal.SIGKILL)
        waiting = cluster.controller.invoke("guest/once", at, revision=once)
        meeting.let_one_go()
        cluster.controller.wait(lambda: bool(answered.completions or running.completions), "completion of either")
        second = cluster.dispatcher()
        meeting.wait_for(3)
        assert not waiting.acks
        comes_to(second, 2, "instar_dispatching", state="open")
    for sent in (answered, running, waiting):
        cluster.controller.completion(sent)
    comes_to(second, 0, "instar_dispatching", state="open")
    assert second.metric("instar_dispatched", what="sent") == 1
    assert second.metric("instar_dispatched", what="failed") == 0
    end(second, *nodes)
    assert meeting.come == 3
    check(cluster, *((sent, MET) for sent in (answered, running, waiting)))


def test_a_dispatcher_and_a_node_that_are_killed_together_are_settled_by_the_next_ones(cluster: Cluster) -> None:
    once = put(cluster, "guest/once", concurrency=2)
    first = together(lambda: cluster.node("a", **memory(1)), cluster.dispatcher)
    comes_to(first[1], 1, "instar_nodes", state="alive")
    with Meeting() as meeting:
        at = {"port": meeting.port}
        begun = cluster.controller.invoke("guest/once", at, revision=once)
        meeting.wait_for(1)
        unbegun = cluster.controller.invoke("guest/once", at, revision=once)
        comes_to(first[1], 2, "instar_dispatched", what="sent")
        for each in first:
            each.process.kill()
        for each in first:
            each.wait()
        node, dispatcher = together(lambda: cluster.node("a", **memory(1)), cluster.dispatcher)
        meeting.wait_for(2)
        cluster.controller.completion(begun)
    cluster.controller.completion(unbegun)
    comes_to(dispatcher, 1, "instar_activations_total", status="whisk internal error")
    assert dispatcher.metric("instar_dispatched", what="failed") == 1
    assert dispatcher.metric("instar_dispatched", what="sent") == 1
    end(dispatcher, node)
    assert meeting.come == 2
    check(cluster, (begun, LOST), (unbegun, MET))


def test_a_second_program_of_a_dispatchers_number_takes_over_and_the_first_does_no_more(
    cluster: Cluster,
) -> None:
    echo = put(cluster, "guest/echo", ECHO)
    first, node = together(cluster.dispatcher, lambda: cluster.node("a", **memory(2)))
    comes_to(first, 1, "instar_nodes", state="alive")
    before = cluster.controller.invoke("guest/echo", {"n": 1}, revision=echo)
    cluster.controller.completion(before)
    second = cluster.dispatcher("--state", str(cluster.state("another")))
    says(first, "another program is dispatcher")
    comes_to(second, 1, "instar_nodes", state="alive")
    until(lambda: "instar-dispatcher-take has ended" in first.ask("/livez")[1], "it says that it has ended")
    later = [cluster.controller.invoke("guest/echo", {"n": n}, revision=echo) for n in range(2, 6)]
    for sent in later:
        cluster.controller.completion(sent)
    assert second.metric("instar_dispatched", what="sent") == 4
    assert first.metric("instar_dispatched", what="sent") == 1
    end(first, second, node)
    check(cluster, (before, {"n": 1}), *((sent, {"n": n}) for n, sent in enumerate(later, 2)))
