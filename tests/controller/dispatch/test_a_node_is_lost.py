"""What a lost node had: what it had not taken over runs elsewhere, the rest is answered with an error, never both."""

from __future__ import annotations

from planes import AGAIN, DispatcherProcess, NodeProcess, World, joined, settled

from instar_controller.engines import refusals


def with_one_job(world: World, name: str = "f") -> tuple[DispatcherProcess, NodeProcess, NodeProcess, str]:
    """A dispatcher, the node that was sent an activation, another node that has just come, and the activation."""
    dispatcher, a = DispatcherProcess(world), NodeProcess(world, "a")
    joined(dispatcher, a)
    id = world.invoke(name)
    dispatcher.all()
    return dispatcher, a, NodeProcess(world, "b"), id


def test_what_it_had_not_taken_over_runs_elsewhere(world: World) -> None:
    dispatcher, _, b, id = with_one_job(world)
    settled(world, dispatcher, b, seconds=9)
    assert not world.starts[id], "it is not dead yet"
    settled(world, dispatcher, b, seconds=5)
    assert (world.starts[id], world.completions[id], world.system_errors[id]) == (1, 1, 0)


def test_what_it_had_taken_over_is_answered_with_an_error(world: World) -> None:
    dispatcher, a, b, id = with_one_job(world)
    a.take()
    settled(world, dispatcher, b, seconds=14)
    assert (world.starts[id], world.completions[id], world.system_errors[id]) == (0, 1, 1)
    assert world.kept.records[0].response.result == {"error": refusals.NODE_LOST}


def test_what_may_run_twice_runs_elsewhere_although_it_had_begun(world: World) -> None:
    dispatcher, a, b, id = with_one_job(world, AGAIN)
    a.take()
    a.begin()
    settled(world, dispatcher, b, seconds=14)
    assert (world.starts[id], world.completions[id], world.system_errors[id]) == (2, 1, 0)


def test_a_node_that_gets_back_what_it_runs_still_answers_it_from_that_run(world: World) -> None:
    dispatcher, a, _, id = with_one_job(world, AGAIN)
    a.take()
    a.begin()
    settled(world, dispatcher, seconds=14)
    a.beat()  # it lives on as another, and nobody else is there
    settled(world, dispatcher, seconds=3)
    for step in (a.beat, dispatcher.all, a.take, a.begin):
        step()
    assert (world.starts[id], world.joined[id]) == (1, 1)
    assert a.membership.unfinished == 1, "what it had of its old life is not in its book any more"
    settled(world, dispatcher, a, seconds=2)
    assert (world.results[id], world.completions[id], world.system_errors[id]) == (1, 1, 0)
    assert dispatcher.engine.snapshot().open == a.membership.unfinished == 0


def test_a_node_that_gets_back_what_it_has_answered_answers_it_again_for_its_new_life(world: World) -> None:
    dispatcher, a, _, id = with_one_job(world, AGAIN)
    a.take()
    a.begin()
    settled(world, dispatcher, seconds=14)
    a.answer()  # to nobody: it is too late
    settled(world, dispatcher, seconds=1)
    assert world.results[id] == 0
    a.beat()
    settled(world, dispatcher, seconds=3)
    for step in (a.beat, dispatcher.all, a.take, a.begin):
        step()
    world.read_answers()
    assert (world.starts[id], world.joined[id], world.results[id]) == (1, 1, 1)
    settled(world, dispatcher, a, seconds=2)
    assert (world.results[id], world.completions[id], world.system_errors[id]) == (1, 1, 0)


def test_what_it_had_answered_is_not_answered_again(world: World) -> None:
    dispatcher, a, b, id = with_one_job(world)
    world.bus.refuse("instar-dispatcher-0")  # its last word was not heard
    a.all()
    settled(world, dispatcher, b, seconds=14)
    assert (world.results[id], world.completions[id], world.system_errors[id]) == (1, 1, 0)


def test_whose_result_was_delivered_gets_only_its_completion(world: World) -> None:
    dispatcher, a, b, id = with_one_job(world)
    a.take()
    a.begin()
    a.answer()
    settled(world, dispatcher, b, seconds=14)
    assert (world.results[id], world.completions[id], world.system_errors[id]) == (1, 1, 0)
    assert dispatcher.engine.counters.completed == 1


def test_a_node_that_comes_back_does_not_go_on_with_it(world: World) -> None:
    dispatcher, a, b, id = with_one_job(world)
    a.take()
    a.begin()
    settled(world, dispatcher, b, seconds=14)
    a.answer()
    a.complete()
    settled(world, dispatcher, a, b, seconds=5)
    assert (world.results[id], world.completions[id], world.system_errors[id]) == (1, 1, 1)
    assert dispatcher.engine.snapshot().nodes_alive == 2


def test_a_node_that_stood_still_before_it_took_over_begins_nothing_of_it(world: World) -> None:
    dispatcher, a, b, id = with_one_job(world)
    settled(world, dispatcher, b, seconds=14)
    a.all()
    assert world.starts[id] == 1, "by the other one"


def test_a_node_that_is_started_again_is_known_to_have_lost_its_work_at_once(world: World) -> None:
    dispatcher, a, _, id = with_one_job(world)
    a.take()
    again = NodeProcess(world, "a")
    settled(world, dispatcher, again, seconds=2)
    assert (world.completions[id], world.system_errors[id]) == (1, 1)


def test_a_node_that_is_started_again_gets_what_it_had_not_taken_over(world: World) -> None:
    dispatcher, _, _, id = with_one_job(world)
    again = NodeProcess(world, "a")
    settled(world, dispatcher, again, seconds=4)
    assert (world.starts[id], world.completions[id], world.system_errors[id]) == (1, 1, 0)


def test_what_a_node_reads_of_its_last_life_before_it_is_heard_was_not_taken_over(world: World) -> None:
    dispatcher, _, _, id = with_one_job(world)
    again = NodeProcess(world, "a")
    again.take()
    again.begin()
    assert not world.starts[id], "it was for another life"
    settled(world, dispatcher, again, seconds=4)
    assert (world.starts[id], world.completions[id], world.system_errors[id]) == (1, 1, 0)


def test_a_node_that_goes_hands_over_at_once(world: World) -> None:
    dispatcher, a, b, id = with_one_job(world)
    a.go()
    settled(world, dispatcher, b, seconds=3)
    assert (world.starts[id], world.completions[id], world.system_errors[id]) == (1, 1, 0)


def test_a_node_that_is_leaving_finishes_and_gets_nothing_more(world: World) -> None:
    dispatcher, a, b, id = with_one_job(world)
    a.membership.disable()
    joined(dispatcher, b)
    a.beat()
    dispatcher.all()
    later = [world.invoke("f") for _ in range(2)]
    dispatcher.all()
    settled(world, dispatcher, a, seconds=2)
    assert world.completions[id] == 1
    assert world.open() == set(later)
    settled(world, dispatcher, b, seconds=2)
    assert not world.open()


def test_nobody_is_given_up_while_the_bus_is_down(world: World) -> None:
    dispatcher, a, _, _ = with_one_job(world)
    world.bus.go_down()
    settled(world, dispatcher, seconds=60)
    world.bus.come_back()
    settled(world, dispatcher, seconds=2)
    assert dispatcher.engine.snapshot().nodes_settling == 0
    assert a.membership.heart.incarnation


def test_when_bus_was_down_for_long_what_had_begun_fails_and_the_rest_runs(world: World) -> None:
    dispatcher, a, _, begun = with_one_job(world)
    a.take()
    a.begin()
    waiting = world.invoke("g")
    dispatcher.all()
    world.bus.go_down()
    settled(world, dispatcher, a, seconds=20)
    world.bus.come_back()
    settled(world, dispatcher, a, seconds=20)
    assert (world.completions[begun], world.system_errors[begun]) == (1, 1)
    assert (world.completions[waiting], world.system_errors[waiting]) == (1, 0)
