"""A dispatcher that is killed, at whatever point, and started again: nothing is lost and nothing is sent twice."""

from __future__ import annotations

import pytest
from planes import DispatcherProcess, NodeProcess, World, joined, settled

from instar_controller.cluster_ports import From, Position
from instar_controller.engines import notes
from instar_controller.engines.notes import Note
from instar_controller.errors import MalformedError
from instar_controller.policies.nodes import Member


def started(world: World) -> tuple[DispatcherProcess, NodeProcess]:
    """A dispatcher that has admitted a node."""
    dispatcher, a = DispatcherProcess(world), NodeProcess(world, "a")
    joined(dispatcher, a)
    return dispatcher, a


def sent_to(world: World, name: str) -> int:
    return sum(b'"message"' in value for value in world.bus.sent(f"instar-node-{name}"))


def committed(world: World) -> int:
    return world.bus.committed("invoker0", "invoker0")[0].offset


def test_before_it_has_sent_what_it_read(world: World) -> None:
    dispatcher, a = started(world)
    a.membership.disable()
    a.beat()
    dispatcher.all()
    id = world.invoke("f")
    dispatcher.all()  # read, and waiting
    assert dispatcher.engine.snapshot().waiting == 1
    a.membership.enable()
    settled(world, DispatcherProcess(world), a)
    assert (world.starts[id], world.completions[id]) == (1, 1)


@pytest.mark.parametrize("goes_on", ["nothing", "taken over", "finished"])
def test_after_it_has_sent_it_and_before_it_has_committed_that(world: World, goes_on: str) -> None:
    dispatcher, a = started(world)
    before = committed(world)
    id = world.invoke("f")
    dispatcher.step("take")
    assert sent_to(world, "a") == 1
    assert committed(world) == before, "or there is nothing to find out"
    if goes_on == "taken over":
        a.take()
    elif goes_on == "finished":
        a.all()
    again = DispatcherProcess(world)
    settled(world, again, a)
    assert sent_to(world, "a") == 1
    assert (world.starts[id], world.completions[id]) == (1, 1)
    assert again.engine.counters.repeated == 1
    assert committed(world) == 1


def test_when_nobody_could_tell_whether_it_was_sent(world: World) -> None:
    dispatcher, a = started(world)
    dispatcher.line.lies_about = "instar-node"
    id = world.invoke("f")
    dispatcher.step("take")
    assert dispatcher.engine.counters.doubtful == 1
    settled(world, DispatcherProcess(world), a)
    assert sent_to(world, "a") == 1
    assert world.completions[id] == 1


def test_nothing_need_be_killed_for_that(world: World) -> None:
    dispatcher, a = started(world)
    dispatcher.line.lies_about = "instar-node"
    id = world.invoke("f")
    dispatcher.step("take")
    dispatcher.line.lies_about = ""
    settled(world, dispatcher, a)
    assert sent_to(world, "a") == 1
    assert world.completions[id] == 1
    assert dispatcher.engine.snapshot().uncommitted == 0


def test_what_was_not_sent_is_sent_when_that_is_clear(world: World) -> None:
    dispatcher, a = started(world)
    world.bus.refuse("instar-node-a")
    id = world.invoke("f")
    dispatcher.step("take")
    assert dispatcher.engine.counters.doubtful == 1
    world.bus.accept("instar-node-a")
    settled(world, dispatcher, a)
    assert sent_to(world, "a") == 1
    assert world.completions[id] == 1


def test_after_it_has_answered_in_a_nodes_stead(world: World) -> None:
    dispatcher = DispatcherProcess(world)
    id = world.invoke("f")
    settled(world, dispatcher, seconds=59)
    before = committed(world)
    world.clock.s += 2
    dispatcher.step("watch")
    world.read_answers()
    assert world.system_errors[id] == 1
    assert committed(world) == before == 0
    a = NodeProcess(world, "a")
    settled(world, DispatcherProcess(world), a, seconds=5)
    assert (world.starts[id], world.completions[id]) == (0, 1)


def test_while_it_settles_what_a_lost_node_had(world: World) -> None:
    dispatcher, a = started(world)
    ids = [world.invoke("f") for _ in range(2)]
    dispatcher.all()
    a.take()
    a = NodeProcess(world, "a")
    a.beat()
    dispatcher.step("listen")
    dispatcher.step("watch")  # answers both, and has not committed that they are settled
    world.read_answers()
    assert [world.system_errors[id] for id in ids] == [1, 1]
    settled(world, DispatcherProcess(world), a, seconds=5)
    assert [world.completions[id] for id in ids] == [1, 1]


def test_while_what_a_lost_node_had_is_on_its_way_to_another(world: World) -> None:
    dispatcher, _ = started(world)
    ids = [world.invoke("f") for _ in range(2)]
    dispatcher.all()
    b = NodeProcess(world, "b")
    for _ in range(11):
        b.beat()
        world.clock.s += 1
        for name in ("listen", "hear", "take"):
            dispatcher.step(name)
    dispatcher.step("watch")
    assert sent_to(world, "b") == 2
    settled(world, DispatcherProcess(world), b, seconds=15)
    assert sent_to(world, "b") == 2
    assert [(world.starts[id], world.completions[id]) for id in ids] == [(1, 1), (1, 1)]


def test_while_nodes_work(world: World) -> None:
    dispatcher, a = started(world)
    ids = [world.invoke("f") for _ in range(2)]
    dispatcher.all()
    a.take()
    a.begin()
    a.begin()
    a.beat()
    again = DispatcherProcess(world)
    settled(world, again, seconds=2)
    a.beat()
    again.all()
    assert again.engine.snapshot().open == 2, "it knows from the node's heartbeat"
    settled(world, again, a)
    assert [world.completions[id] for id in ids] == [1, 1]
    assert again.engine.snapshot().open == 0


def test_while_nodes_work_on_what_is_committed_long_since(world: World) -> None:
    """The next one hears old heartbeats first, which tell of nothing yet; and what the first one noted as the place
    from which on to look for what it had sent is behind that."""
    dispatcher, a = started(world)
    begun = world.invoke("f")
    dispatcher.all()
    a.take()
    a.begin()
    for _ in range(3):
        a.beat()
        dispatcher.all()
    lying = world.invoke("f")  # the node is busy with something, and does not read it
    for _ in range(3):
        dispatcher.all()
    again = DispatcherProcess(world)
    for _ in range(3):
        a.beat()
        again.all()
    assert again.engine.snapshot().open == 2, "so that the node has no room"
    late = world.invoke("f")
    settled(world, again, seconds=2)
    assert again.engine.snapshot().waiting == 1
    settled(world, again, a)
    assert [world.completions[id] for id in (begun, lying, late)] == [1, 1, 1]
    assert again.engine.snapshot().open == 0


def test_together_with_a_node_that_worked(world: World) -> None:
    dispatcher, a = started(world)
    begun = world.invoke("f")
    dispatcher.all()
    a.take()
    a.begin()
    a.beat()
    dispatcher.all()
    waiting = world.invoke("f")
    dispatcher.all()
    b = NodeProcess(world, "b")
    settled(world, DispatcherProcess(world), b, seconds=15)
    assert (world.completions[begun], world.system_errors[begun]) == (1, 1)
    assert (world.completions[waiting], world.system_errors[waiting]) == (1, 0)


def test_another_program_of_the_same_number_takes_over_and_the_first_finds_out(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    first, a = started(world)
    begun = world.invoke("f")
    first.all()
    a.take()
    a.begin()
    a.beat()
    second = DispatcherProcess(world, owner="another")
    second.all()
    for _ in range(6):
        world.clock.s += 1
        a.beat()
        first.step("watch")
    assert "another program is dispatcher instar-dispatcher-0 by now" in caplog.text
    late = world.invoke("f")
    first.all()
    assert first.engine.counters.read == 1, "it reads no more"
    settled(world, first, second, a)
    assert [(world.starts[id], world.completions[id]) for id in (begun, late)] == [(1, 1), (1, 1)]
    first.engine.close(drain_s=0.0)
    assert committed(world) == 2, "as the second one has it"


def test_nobody_is_dead_to_a_dispatcher_that_has_only_begun(world: World) -> None:
    _, a = started(world)
    world.clock.s += 100
    again = DispatcherProcess(world)
    again.all()
    world.clock.s += 1
    again.all()
    assert again.engine.snapshot().nodes_settling == 0
    a.beat()
    again.all()
    assert again.engine.snapshot().nodes_alive == 1


def test_a_dispatcher_does_not_begin_with_a_note_that_makes_no_sense(world: World) -> None:
    reader = world.bus.subscribe("invoker0", "invoker0", begin=From.EARLIEST)
    reader.commit({0: Position(0, "[]")})
    dispatcher = DispatcherProcess(world)
    dispatcher.step("take")
    assert not dispatcher.is_open


def test_a_note_says_what_was_written() -> None:
    note = Note({Member("a", "1"): 5, Member("a", "2"): 7, Member("b.c", "3"): 0}, {"0": 9}, {0: 5, 2: 7})
    assert notes.parse(note.encode()) == note
    assert notes.parse("") == Note()
    assert not Note({Member("n" * 100 + str(n), "i"): n for n in range(40)}).fits
    for text in (
        "x",
        "[]",
        "{}",
        '{"nodes":{"a":{"b":"c"}},"acks":{},"read":{}}',
        '{"nodes":[],"acks":{},"read":{}}',
    ):
        with pytest.raises(MalformedError):
            notes.parse(text)
