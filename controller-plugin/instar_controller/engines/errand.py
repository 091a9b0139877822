"""One job in one container: `/init` if it is new, `/transform` if it is another function's, then `/run`.

One rule: whatever the container does, the errand comes back, within the action's time limit for `/init` or
`/transform` and again for `/run`: with an activation, or with the news that the container never saw the job.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from instar_controller.engines import messages, records
from instar_controller.engines.orders import Run, StartKind, Transformation
from instar_controller.engines.records import Course, Interval, Origin
from instar_controller.errors import ContainerError
from instar_controller.policies import removal
from instar_controller.policies.observations import (
    After,
    Initialised,
    Observation,
    Ran,
    Transformed,
    Unable,
    Woken,
)
from instar_controller.policies.removal import Reason, Why
from instar_controller.ports import NOT_OFFERED, UNTOUCHED, Clock, Containers, Delivery
from instar_controller.whisk import response as responses
from instar_controller.whisk import transformation as transformations
from instar_controller.whisk import weights
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.response import Disconnected, Outcome, Replied, Response, TimedOut

SHUTTING_DOWN = 503  # what a container answers that is about to go and has not begun


class MakeBody(Protocol):
    """Makes the body of a request, just before it is sent."""

    def __call__(self, invocation: Invocation, *, deadline_ms: int) -> bytes: ...


# One exchange with a container: gets the deadline, epoch milliseconds. Raises `ContainerError`.
Send = Callable[[int], Outcome]


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


@dataclass(frozen=True, slots=True)
class Made:
    """The donor is the job's function now, initialised."""

    begun_ms: int  # when that was begun with, its waking included
    interval: Interval  # of `/transform`
    how: str | None  # as the container says it
    why: str | None  # it loaded, although there was a plan


@dataclass(frozen=True, slots=True)
class Untouched:
    """The donor does not hold what the plan begins with, or cannot be transformed at all, and is as it was."""

    reason: str


@dataclass(frozen=True, slots=True)
class Spoiled:
    """The donor is neither the one function nor the other. The job was not run."""

    reason: Reason


class Errand:
    """Brings jobs to containers; keeps nothing between two of them. `tell` is told how long each part took that went
    well."""

    def __init__(
        self,
        containers: Containers,
        clock: Clock,
        *,
        max_result_bytes: int,
        tell: Callable[[Observation], None] = lambda _: None,
    ) -> None:
        self._containers = containers
        self._clock = clock
        self._max_result_bytes = max_result_bytes
        self._tell = tell

    def transform(
        self, run: Run, transformation: Transformation, invocation: Invocation
    ) -> Made | Untouched | Spoiled | Unseen:
        """Wake the donor if it sleeps, and have it become the job's function."""
        begun_ms = self._clock.now_ms()
        if (unseen := self._wake(run)) is not None:
            return unseen

        def send(deadline_ms: int) -> Outcome:
            body = messages.transform_body(invocation, transformation.offer, deadline_ms=deadline_ms)
            return self._containers.transform(
                run.container,
                body,
                timeout_ms=invocation.action.limits.timeout_ms,
                max_reply_bytes=self._max_result_bytes,
            )

        interval, outcome = self._exchange(invocation, "/transform", send)
        match outcome:
            case Unseen():
                return outcome
            case Replied(status=200, body=body):
                self._tell(_transformed(run, interval, transformation))
                return Made(begun_ms, interval, transformations.how(body), transformations.why(body))
            case Replied() if outcome == NOT_OFFERED:
                self._tell(Unable(run.work.job.kind))
                return Untouched(f"containers of kind {run.work.job.kind} cannot be transformed")
            case Replied(status=status, body=body) if status == UNTOUCHED:
                return Untouched(transformations.reason(body))
            case _:
                return Spoiled(_reason(removal.after_transformation(outcome), invocation))

    def carry_out(
        self, run: Run, invocation: Invocation, delivery: Delivery | None = None, made: Made | None = None
    ) -> Seen | Unseen:
        """Wake the container if it sleeps, initialise it if nobody has, and call the function.

        `delivery` is the weights' that were sent for when this start was decided. `made` tells of the transformation
        that has initialised it.
        """
        course = Course(start=run.start.value, boot_ms=run.boot_ms)
        if made is not None:
            course = replace(course, init=made.interval, origin=_origin(run, made, invocation))
        elif (unseen := self._wake(run)) is not None:
            return unseen
        if run.start in (StartKind.COLD, StartKind.PREWARMED):
            interval, outcome = self._post(run, invocation, "/init", messages.init_body)
            if isinstance(outcome, Unseen):
                return outcome
            course = replace(course, init=interval, timed_out=isinstance(outcome, TimedOut))
            failure = responses.of_init(outcome, max_result_bytes=self._max_result_bytes)
            if failure is not None:
                activation = self._activation(invocation, course, failure)
                return Seen(activation, _reason(removal.after_init(outcome), invocation))
            self._tell(Initialised(run.work.job.kind, run.work.job.key.action, interval.length_ms))
        interval, outcome = self._post(run, invocation, "/run", messages.run_body)
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
            self._tell(Ran(run.work.job.kind, run.work.job.key.action, interval.length_ms, _before(run)))
            return Seen(activation, None)
        return Seen(activation, _reason(removal.after_run(outcome), invocation))

    def give_up(self, invocation: Invocation, response: Response | None = None) -> Activation:
        """The activation of a job for which no container was to be had: the platform's fault, unless `response` says
        otherwise.
        """
        return self._activation(invocation, Course(), response or responses.of_failed_start())

    def _wake(self, run: Run) -> Unseen | None:
        if not run.is_paused:
            return None
        start_ms = self._clock.now_ms()
        try:
            self._containers.resume(run.container)
        except ContainerError as error:
            return Unseen(Reason(Why.RESUME_FAILED, str(error)))
        self._tell(Woken(run.work.job.kind, Interval(start_ms, self._clock.now_ms()).length_ms))
        return None

    def _post(
        self, run: Run, invocation: Invocation, path: str, make_body: MakeBody
    ) -> tuple[Interval, Outcome | Unseen]:
        def send(deadline_ms: int) -> Outcome:
            return self._containers.post(
                run.container,
                path,
                make_body(invocation, deadline_ms=deadline_ms),
                timeout_ms=invocation.action.limits.timeout_ms,
                max_reply_bytes=self._max_result_bytes,
            )

        return self._exchange(invocation, path, send)

    def _exchange(self, invocation: Invocation, path: str, send: Send) -> tuple[Interval, Outcome | Unseen]:
        limit_ms = invocation.action.limits.timeout_ms
        start_ms = self._clock.now_ms()
        outcome: Outcome | Unseen
        try:
            outcome = send(start_ms + limit_ms)
        except ContainerError as error:
            outcome = Unseen(Reason(Why.UNREACHABLE, str(error)))
        interval = Interval(start_ms, self._clock.now_ms())
        if isinstance(outcome, Replied) and outcome.status == SHUTTING_DOWN:
            return interval, Unseen(Reason(Why.UNREACHABLE, f"it answered {path} with {SHUTTING_DOWN}"))
        if isinstance(outcome, Replied) and interval.length_ms >= limit_ms:
            return interval, TimedOut(limit_ms)  # it answered in the last moment: too late all the same
        return interval, outcome

    def _activation(self, invocation: Invocation, course: Course, response: Response) -> Activation:
        return records.activation(invocation, course, response, now_ms=self._clock.now_ms())


def _transformed(run: Run, interval: Interval, transformation: Transformation) -> Transformed:
    job = run.work.job
    return Transformed(job.kind, job.key.action, interval.length_ms, transformation.offer)


def _before(run: Run) -> After:
    match run.start:
        case StartKind.WARM:
            return After.RUN
        case StartKind.COLD | StartKind.PREWARMED:
            return After.INIT
        case StartKind.TRANSFORMED:
            is_planned = run.transformation is not None and run.transformation.offer is not None
            return After.PLAN if is_planned else After.LOAD


def _origin(run: Run, made: Made, invocation: Invocation) -> Origin:
    assert run.transformation is not None, "it was made out of something"
    source = run.transformation.source
    return Origin(
        # A record does not tell a namespace what another one calls.
        action=source.action if source.namespace == invocation.namespace else None,
        is_planned=run.transformation.offer is not None,
        how=made.how,
        estimated_ms=run.transformation.estimated_ms,
        begun_ms=made.begun_ms,
    )


def _reason(why: Why, invocation: Invocation) -> Reason:
    return Reason(why, f"{invocation.action.full_name}, activation {invocation.activation_id}")
