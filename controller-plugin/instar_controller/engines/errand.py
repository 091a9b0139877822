"""One job in one container: `/init` if it is new, then `/run`.

One rule: whatever the container does, the errand comes back, within the action's time limit for `/init` and
again for `/run`: with an activation, or with the news that the container never saw the job.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from instar_controller.engines import messages, records
from instar_controller.engines.records import Course, Interval
from instar_controller.engines.scheduler import Run, StartKind
from instar_controller.errors import ContainerError
from instar_controller.policies import removal
from instar_controller.policies.removal import Reason, Why
from instar_controller.ports import Clock, Containers, Delivery
from instar_controller.whisk import response as responses
from instar_controller.whisk import weights
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.response import Disconnected, Outcome, Replied, TimedOut

SHUTTING_DOWN = 503  # what a container answers that is about to go and has not begun


class MakeBody(Protocol):
    """Makes the body of a request, just before it is sent."""

    def __call__(self, invocation: Invocation, *, deadline_ms: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Seen:
    """The job has its activation. `ruin` says why the container must go; None if it may serve again."""

    activation: Activation
    ruin: Reason | None


@dataclass(frozen=True, slots=True)
class Unseen:
    """The container was dead, asleep for good or about to go, and has not run the job: it may be run
    elsewhere."""

    reason: Reason


class Errand:
    """Brings jobs to containers; keeps nothing between two of them."""

    def __init__(self, containers: Containers, clock: Clock, *, max_result_bytes: int) -> None:
        self._containers = containers
        self._clock = clock
        self._max_result_bytes = max_result_bytes

    def carry_out(self, run: Run, invocation: Invocation, delivery: Delivery | None = None) -> Seen | Unseen:
        """Wake the container if it sleeps, initialise it if nobody has, and call the function.

        `delivery` is the weights' that were sent for when this start was decided.
        """
        if run.is_paused:
            try:
                self._containers.resume(run.container)
            except ContainerError as error:
                return Unseen(Reason(Why.RESUME_FAILED, str(error)))
        course = Course(start=run.start.value, boot_ms=run.boot_ms)
        if run.start is not StartKind.WARM:
            interval, outcome = self._exchange(run, invocation, "/init", messages.init_body)
            if isinstance(outcome, Unseen):
                return outcome
            course = replace(course, init=interval, timed_out=isinstance(outcome, TimedOut))
            failure = responses.of_init(outcome, max_result_bytes=self._max_result_bytes)
            if failure is not None:
                activation = self._activation(invocation, course, failure)
                return Seen(activation, _reason(removal.after_init(outcome), invocation))
        interval, outcome = self._exchange(run, invocation, "/run", messages.run_body)
        if isinstance(outcome, Unseen):
            if course.init is None:
                return outcome
            outcome = Disconnected()  # its code was loaded and may be what ended it: that is not tried twice
        report = outcome.weights if isinstance(outcome, Replied) else None
        told = weights.note(report, delivery.amounts() if delivery else None)
        course = replace(course, run=interval, timed_out=isinstance(outcome, TimedOut), weights=told)
        response = responses.of_run(outcome, max_result_bytes=self._max_result_bytes)
        activation = self._activation(invocation, course, response)
        if response.keeps_container:
            return Seen(activation, None)
        return Seen(activation, _reason(removal.after_run(outcome), invocation))

    def give_up(self, invocation: Invocation) -> Activation:
        """The activation of a job for which no container was to be had."""
        return self._activation(invocation, Course(), responses.of_failed_start())

    def _exchange(
        self, run: Run, invocation: Invocation, path: str, make_body: MakeBody
    ) -> tuple[Interval, Outcome | Unseen]:
        limit_ms = invocation.action.limits.timeout_ms
        start_ms = self._clock.now_ms()
        outcome: Outcome | Unseen
        try:
            outcome = self._containers.post(
                run.container,
                path,
                make_body(invocation, deadline_ms=start_ms + limit_ms),
                timeout_ms=limit_ms,
                max_reply_bytes=self._max_result_bytes,
            )
        except ContainerError as error:
            outcome = Unseen(Reason(Why.UNREACHABLE, str(error)))
        interval = Interval(start_ms, self._clock.now_ms())
        if isinstance(outcome, Replied) and outcome.status == SHUTTING_DOWN:
            return interval, Unseen(Reason(Why.UNREACHABLE, f"it answered {path} with {SHUTTING_DOWN}"))
        if isinstance(outcome, Replied) and interval.length_ms >= limit_ms:
            return interval, TimedOut(limit_ms)  # it answered in the last moment: too late all the same
        return interval, outcome

    def _activation(self, invocation: Invocation, course: Course, response: responses.Response) -> Activation:
        return records.activation(invocation, course, response, now_ms=self._clock.now_ms())


def _reason(why: Why, invocation: Invocation) -> Reason:
    return Reason(why, f"{invocation.action.full_name}, activation {invocation.activation_id}")
