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
from instar_controller.ports import Clock, Containers
from instar_controller.whisk import response as responses
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.response import Disconnected, Outcome, Replied, Response, TimedOut

SHUTTING_DOWN = 503  # what a container answers that is about to go and has not begun


class MakeBody(Protocol):
    """Makes the body of a request, just before it is sent."""

    def __call__(self, invocation: Invocation, *, deadline_ms: int) -> bytes: ...


@dataclass(frozen=True, slots=True)
class Unseen:
    """The container was dead, or about to go, and has not run the job: it may be run elsewhere."""


class Errand:
    """Brings jobs to containers; keeps nothing between two of them."""

    def __init__(self, containers: Containers, clock: Clock, *, max_result_bytes: int) -> None:
        self._containers = containers
        self._clock = clock
        self._max_result_bytes = max_result_bytes

    def carry_out(self, run: Run, invocation: Invocation) -> Activation | Unseen:
        """Initialise the container if nobody has, and call the function."""
        course = Course(start=run.start.value, boot_ms=run.boot_ms)
        if run.start is not StartKind.WARM:
            interval, outcome = self._exchange(run, invocation, "/init", messages.init_body)
            if isinstance(outcome, Unseen):
                return outcome
            course = replace(course, init=interval, timed_out=isinstance(outcome, TimedOut))
            failure = responses.of_init(outcome, max_result_bytes=self._max_result_bytes)
            if failure is not None:
                return self._activation(invocation, course, failure)
        interval, outcome = self._exchange(run, invocation, "/run", messages.run_body)
        if isinstance(outcome, Unseen):
            if course.init is None:
                return outcome
            outcome = Disconnected()  # its code was loaded and may be what ended it: that is not tried twice
        course = replace(course, run=interval, timed_out=isinstance(outcome, TimedOut))
        response = responses.of_run(outcome, max_result_bytes=self._max_result_bytes)
        return self._activation(invocation, course, response)

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
        except ContainerError:
            outcome = Unseen()
        interval = Interval(start_ms, self._clock.now_ms())
        if isinstance(outcome, Replied) and outcome.status == SHUTTING_DOWN:
            return interval, Unseen()
        if isinstance(outcome, Replied) and interval.length_ms >= limit_ms:
            return interval, TimedOut(limit_ms)  # it answered in the last moment: too late all the same
        return interval, outcome

    def _activation(self, invocation: Invocation, course: Course, response: Response) -> Activation:
        return records.activation(invocation, course, response, now_ms=self._clock.now_ms())
