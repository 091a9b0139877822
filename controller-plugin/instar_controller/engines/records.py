"""The activation record of a finished job: OpenWhisk's rules for its times.

A job that was initialised for, by `/init` or by `/transform`, counts from there on: `start` lies so much before the
run as that took, and `duration` is both together. A job that found a warm container counts from its `/run`. What
happened between arrival and that moment is `waitTime`.
"""

from __future__ import annotations

from dataclasses import dataclass

from instar_controller.whisk import version
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.activation_message import ActivationMessage
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.response import Response
from instar_controller.whisk.values import Json, JsonObject

UNKNOWN = "unknown"  # the kind of an action that was not read


@dataclass(frozen=True, slots=True)
class Interval:
    """From `start_ms` to `end_ms`, epoch milliseconds."""

    start_ms: int
    end_ms: int

    @property
    def length_ms(self) -> int:
        return max(0, self.end_ms - self.start_ms)  # the day's clock may have been set back meanwhile


@dataclass(frozen=True, slots=True)
class Origin:
    """What a transformed container was before, and what was promised of it."""

    action: str | None  # `ns/[pkg/]name`; None where the caller has no business knowing
    is_planned: bool  # False: the container was to let go of that and load
    how: str | None  # what the container said that it did: `transformed` or `loaded`
    estimated_ms: float  # from the decision to the answer
    begun_ms: int  # when the transformation was begun with, epoch milliseconds


@dataclass(frozen=True, slots=True)
class Course:
    """How far a job got, and how long each part took."""

    init: Interval | None = None  # or transformation; None if the container was warm, or none was had
    run: Interval | None = None  # None if it did not come to that
    timed_out: bool = False
    start: str | None = None  # `cold`, `prewarmed`, `transformed` or `warm`; None if no container was had
    boot_ms: int | None = None  # of the container, if it was started for this very job
    origin: Origin | None = None  # of a container that was transformed for this very job
    weights: JsonObject | None = None  # as `whisk.weights.note` tells it


def refusal(message: ActivationMessage, response: Response, *, now_ms: int) -> Activation:
    """The record of an activation whose action was not even read."""
    action = message.action
    return Activation(
        activation_id=message.activation_id,
        namespace=message.user.namespace,
        name=action.name,
        version=action.version or str(version.FIRST),
        subject=message.user.subject,
        start=now_ms,
        end=now_ms,
        duration=0,
        response=response,
        path=action.full_name,
        kind=UNKNOWN,
        limits=None,
        timeout=False,
        wait_time=0,
        cause=message.cause,
    )


def activation(invocation: Invocation, course: Course, response: Response, *, now_ms: int) -> Activation:
    """The record, without logs. `now_ms` dates a job that never reached a container."""
    init_ms = course.init.length_ms if course.init else 0
    match course.init, course.run:
        case _, Interval() as run:
            start, end, duration = run.start_ms - init_ms, run.end_ms, init_ms + run.length_ms
        case Interval() as init, None:
            start, end, duration = init.start_ms, init.end_ms, init_ms
        case _:
            start, end, duration = now_ms, now_ms, 0
    begun = course.init or course.run
    begun_ms = begun.start_ms if begun else now_ms
    action = invocation.action
    return Activation(
        activation_id=invocation.activation_id,
        namespace=invocation.namespace,
        name=action.name,
        version=str(action.version),
        subject=invocation.subject,
        start=start,
        end=end,
        duration=duration,
        response=response,
        path=action.full_name,
        kind=action.exec.kind,
        limits=action.limits.to_json(),
        timeout=course.timed_out,
        wait_time=max(0, begun_ms - invocation.received_ms),
        init_time=None if course.init is None else init_ms,
        binding=invocation.binding,
        instar=_note(course),
        cause=invocation.cause,
    )


def _note(course: Course) -> JsonObject | None:
    """What Instar adds: the kind of start, the milliseconds that each of its parts took, and the weights."""
    if course.start is None:
        return None
    note: dict[str, Json] = {"start": course.start, **_origin_note(course)}
    if course.boot_ms is not None:
        note["bootMs"] = course.boot_ms
    if course.init is not None:
        note["initMs"] = course.init.length_ms
    if course.run is not None:
        note["runMs"] = course.run.length_ms
    if course.weights is not None:
        note["weights"] = course.weights
    return note


def _origin_note(course: Course) -> JsonObject:
    """Where a transformed container came from, how it was made, and the estimate beside the truth: both from the
    decision to the answer."""
    origin = course.origin
    if origin is None:
        return {}
    note: dict[str, Json] = {} if origin.action is None else {"from": origin.action}
    note["by"] = "plan" if origin.is_planned else "load"
    if origin.how is not None:
        note["how"] = origin.how
    note["estimatedMs"] = round(origin.estimated_ms)
    if course.run is not None:
        note["actualMs"] = Interval(origin.begun_ms, course.run.end_ms).length_ms
    return note
