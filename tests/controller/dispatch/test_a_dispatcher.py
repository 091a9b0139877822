"""An activation goes from its controller by a dispatcher to a node, and comes back answered, once."""

from __future__ import annotations

from worlds import DispatcherProcess, NodeProcess, World


def test_an_activation_is_carried_out_by_a_node() -> None:
    world = World()
    dispatcher, node = DispatcherProcess(world), NodeProcess(world, "a")
    id = world.invoke("f")
    for _ in range(4):
        node.all()
        dispatcher.all()
        world.clock.s += 1
    world.read_answers()
    assert world.starts[id] == world.results[id] == world.completions[id] == 1
    assert dispatcher.engine.snapshot().open == 0
    assert dispatcher.engine.snapshot().uncommitted == 0
