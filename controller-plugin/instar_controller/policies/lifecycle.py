"""What can happen to a container, as a table.

An event that the table does not list for a state is our own mistake: it is refused here, at once, rather
than found later as a container that two jobs hold. Who makes an event happen, and when, is not this file's
business.

    STARTING ─up─► PREWARMED ─taken─► RUNNING ─answered─► COLLECTING ─collected─► READY ─taken─► RUNNING
    READY ─rested─► PAUSING ─paused─► PAUSED ─taken─► RUNNING
    READY, PAUSED ─claimed─► TRANSFORMING ─transformed─► RUNNING
                             TRANSFORMING ─untouched─► READY
    each of these ─doomed─► REMOVING ─removed─► GONE
"""

from __future__ import annotations

from enum import Enum

from instar_controller.errors import IllegalTransitionError


class State(Enum):
    """Where a container is in its life."""

    STARTING = "starting"  # its processes boot
    PREWARMED = "prewarmed"  # up, and nothing was ever sent to it
    RUNNING = "running"  # holds a job: /init or /run is under way
    COLLECTING = "collecting"  # its answer is out, the end of its log is being read
    READY = "ready"  # warm and idle
    PAUSING = "pausing"  # about to sleep: not to be used before it does
    PAUSED = "paused"  # warm and asleep; whoever takes it wakes it first
    TRANSFORMING = "transforming"  # claimed for a job of another function, and being made into it
    REMOVING = "removing"  # on its way out; its memory counts until it has gone
    GONE = "gone"


class Event(Enum):
    """What can happen to a container."""

    UP = "up"
    TAKEN = "taken"
    ANSWERED = "answered"
    COLLECTED = "collected"
    RESTED = "rested"  # idle for so long that it is put to sleep
    PAUSED = "paused"
    CLAIMED = "claimed"  # as a donor: whoever comes second finds it claimed
    TRANSFORMED = "transformed"  # it is another function now, and holds the job that claimed it
    UNTOUCHED = "untouched"  # the transformation was not begun: it is as it was, and awake
    DOOMED = "doomed"  # evicted, expired, failed or died: in every case it is removed
    REMOVED = "removed"


TRANSITIONS: dict[State, dict[Event, State]] = {
    State.STARTING: {Event.UP: State.PREWARMED, Event.DOOMED: State.REMOVING},
    State.PREWARMED: {Event.TAKEN: State.RUNNING, Event.DOOMED: State.REMOVING},
    State.RUNNING: {Event.ANSWERED: State.COLLECTING, Event.DOOMED: State.REMOVING},
    State.COLLECTING: {Event.COLLECTED: State.READY, Event.DOOMED: State.REMOVING},
    State.READY: {
        Event.TAKEN: State.RUNNING,
        Event.RESTED: State.PAUSING,
        Event.CLAIMED: State.TRANSFORMING,
        Event.DOOMED: State.REMOVING,
    },
    State.PAUSING: {Event.PAUSED: State.PAUSED, Event.DOOMED: State.REMOVING},
    State.PAUSED: {Event.TAKEN: State.RUNNING, Event.CLAIMED: State.TRANSFORMING, Event.DOOMED: State.REMOVING},
    State.TRANSFORMING: {
        Event.TRANSFORMED: State.RUNNING,
        Event.UNTOUCHED: State.READY,
        Event.DOOMED: State.REMOVING,
    },
    State.REMOVING: {Event.REMOVED: State.GONE},
    State.GONE: {},
}


def after(state: State, event: Event) -> State:
    """The state that follows. Raises `IllegalTransitionError` where the table has no such step."""
    following = TRANSITIONS[state].get(event)
    if following is None:
        allowed = ", ".join(each.value for each in TRANSITIONS[state]) or "nothing"
        raise IllegalTransitionError(
            f"a container that is {state.value} cannot be {event.value}; what may happen to it: {allowed}"
        )
    return following
