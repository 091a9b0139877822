"""Why a container goes.

One rule: every removal has exactly one reason, given where it was decided; it travels with the command and is
told to the operator when the container has gone. What the container's own end looked like (exit status, signal)
is not decided but found, and told beside the reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from instar_controller.whisk.response import Disconnected, Outcome, OutOfMemory, Replied, TimedOut


class Why(Enum):
    """The kinds of reasons, in the words that operators see."""

    IDLE = "idle"  # nobody has used it for as long as it is kept
    EVICTED = "evicted"  # its memory is needed
    INIT_FAILED = "init failed"
    TRANSFORMATION_FAILED = "transformation failed"
    RUN_FAILED = "run failed"  # an answer after which a container is not used again
    TIMED_OUT = "timed out"
    DISCONNECTED = "connection broken"
    OUT_OF_MEMORY = "out of memory"
    ENDED = "ended by itself"
    UNREACHABLE = "unreachable"  # it did not take the request, or said that it is about to go
    LOG_LOST = "log without end"
    PAUSE_FAILED = "pause failed"
    RESUME_FAILED = "resume failed"
    CLOSING = "server closing"
    OUR_MISTAKE = "internal error"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why this container goes; `detail` says which activation, or what was said."""

    why: Why
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.why.value}: {self.detail}" if self.detail else self.why.value


def after_init(outcome: Outcome) -> Why:
    """Why a container goes whose `/init` ended in this failure."""
    return Why.INIT_FAILED if isinstance(outcome, Replied) else _after(outcome)


def after_transformation(outcome: Outcome) -> Why:
    """Why a donor goes whose `/transform` ended in this failure."""
    return Why.TRANSFORMATION_FAILED if isinstance(outcome, Replied) else _after(outcome)


def after_run(outcome: Outcome) -> Why:
    """Why a container goes whose `/run` ended in this failure."""
    return Why.RUN_FAILED if isinstance(outcome, Replied) else _after(outcome)


def _after(outcome: TimedOut | Disconnected | OutOfMemory) -> Why:
    match outcome:
        case TimedOut():
            return Why.TIMED_OUT
        case Disconnected():
            return Why.DISCONNECTED
        case OutOfMemory():
            return Why.OUT_OF_MEMORY
