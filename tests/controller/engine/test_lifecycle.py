"""A container's life follows the table, and nothing else."""

import itertools

import pytest

from instar_controller.errors import IllegalTransitionError
from instar_controller.policies import lifecycle
from instar_controller.policies.lifecycle import Event, State


def test_a_container_lives_from_start_to_removal() -> None:
    state = State.STARTING
    seen = []
    for event in (
        Event.UP,
        Event.TAKEN,
        Event.ANSWERED,
        Event.COLLECTED,
        Event.TAKEN,
        Event.ANSWERED,
        Event.COLLECTED,
        Event.RESTED,
        Event.PAUSED,
        Event.TAKEN,
        Event.DOOMED,
        Event.REMOVED,
    ):
        state = lifecycle.after(state, event)
        seen.append(state.value)
    assert " ".join(seen) == (
        "prewarmed running collecting ready running collecting ready pausing paused running removing gone"
    )


def test_a_busy_container_is_not_taken_again() -> None:
    with pytest.raises(IllegalTransitionError, match=r"running cannot be taken.*answered, doomed"):
        lifecycle.after(State.RUNNING, Event.TAKEN)


def test_every_step_outside_the_table_is_refused() -> None:
    for state, event in itertools.product(State, Event):
        if event in lifecycle.TRANSITIONS[state]:
            assert lifecycle.after(state, event) is lifecycle.TRANSITIONS[state][event]
        else:
            with pytest.raises(IllegalTransitionError):
                lifecycle.after(state, event)


def test_every_state_leads_to_the_end() -> None:
    reached = {State.GONE}
    for _ in State:
        reached |= {s for s in State if reached & set(lifecycle.TRANSITIONS[s].values())}
    assert reached == set(State)


@pytest.mark.parametrize("state", [State.PAUSING, State.REMOVING], ids=lambda state: state.value)
def test_a_container_on_its_way_elsewhere_is_not_taken(state: State) -> None:
    with pytest.raises(IllegalTransitionError, match="cannot be taken"):
        lifecycle.after(state, Event.TAKEN)


@pytest.mark.parametrize("state", State, ids=lambda state: state.value)
def test_only_an_idle_container_is_claimed_as_a_donor(state: State) -> None:
    if state in (State.READY, State.PAUSED):
        assert lifecycle.after(state, Event.CLAIMED) is State.TRANSFORMING
    else:
        with pytest.raises(IllegalTransitionError, match="cannot be claimed"):
            lifecycle.after(state, Event.CLAIMED)


def test_a_donor_runs_as_another_function_or_is_as_it_was_or_goes() -> None:
    assert lifecycle.TRANSITIONS[State.TRANSFORMING] == {
        Event.TRANSFORMED: State.RUNNING,
        Event.UNTOUCHED: State.READY,
        Event.DOOMED: State.REMOVING,
    }
