"""What a container's answer means for the one who asked: OpenWhisk's tables for `/init` and `/run`, as
functions.

One rule: every outcome of an exchange with a container has a response, and the response alone says whether
the container may be used again. Nothing here talks to a container, reads a clock or stores anything.

    of_run(outcome)             -> Response                   for /run
    of_init(outcome)            -> Response | None            for /init; None if the function is ready
    of_failed_start(…)          -> Response                   there was no container to ask
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from instar_controller.whisk.values import Json, JsonObject, parse
from instar_controller.whisk.weights import Report

ERROR = "error"

EXITED_IN_INIT = "The action did not initialize and exited unexpectedly."
EXITED_IN_RUN = "The action did not produce a valid response and exited unexpectedly."
MEMORY_EXHAUSTED = "The action exhausted its memory and was aborted."
NOT_PROVISIONED = "Failed to provision resources to run the action."
LOGS_MIGHT_BE_MISSING = "The action did not initialize or run as expected. Log data might be missing."
LOGS_NOT_COLLECTED = "There was an issue while collecting your logs. Data might be missing."


class Status(IntEnum):
    """How an activation ended, as a number in records and lists."""

    SUCCESS = 0
    APPLICATION_ERROR = 1
    DEVELOPER_ERROR = 2
    WHISK_ERROR = 3

    @property
    def text(self) -> str:
        """The same as a text, as single records show it."""
        return _STATUS_TEXTS[self]


_STATUS_TEXTS = {
    Status.SUCCESS: "success",
    Status.APPLICATION_ERROR: "application error",
    Status.DEVELOPER_ERROR: "action developer error",
    Status.WHISK_ERROR: "whisk internal error",
}


@dataclass(frozen=True, slots=True)
class Response:
    """How an activation ended. `size` is the length of the container's reply; None if there was none."""

    status: Status
    result: Json
    size: int | None = None

    @property
    def keeps_container(self) -> bool:
        """Whether the container that gave it may serve again: after a success and after the function's own
        error.
        """
        return self.status in (Status.SUCCESS, Status.APPLICATION_ERROR)


@dataclass(frozen=True, slots=True)
class Replied:
    """The container answered with `status`.

    `body` holds the reply's first bytes, at most the permitted size and one; `length` is the reply's full
    length in bytes, as its Content-Length says. `weights` is what an Instar container reports beside it.
    """

    status: int
    body: bytes
    length: int
    weights: Report | None = None


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The connection broke before a whole answer had come."""


@dataclass(frozen=True, slots=True)
class TimedOut:
    """No answer came within the action's time limit, in milliseconds."""

    limit_ms: int


@dataclass(frozen=True, slots=True)
class OutOfMemory:
    """The container was ended since it used more memory than its action may."""


Outcome = Replied | Disconnected | TimedOut | OutOfMemory


def of_run(outcome: Outcome, *, max_result_bytes: int) -> Response:
    """The response to the outcome of `/run`."""
    match outcome:
        case TimedOut(limit_ms):
            return developer_error(f"The action exceeded its time limits of {limit_ms} milliseconds.")
        case Disconnected():
            return developer_error(EXITED_IN_RUN)
        case OutOfMemory():
            return developer_error(MEMORY_EXHAUSTED)
        case Replied():
            return _of_run_reply(outcome, max_result_bytes)


def of_init(outcome: Outcome, *, max_result_bytes: int) -> Response | None:
    """The response to the outcome of `/init`, always a developer error; None if the container is
    initialised.
    """
    match outcome:
        case TimedOut(limit_ms):
            return developer_error(
                f"The action exceeded its time limits of {limit_ms} milliseconds during initialization."
            )
        case Disconnected():
            return developer_error(EXITED_IN_INIT)
        case OutOfMemory():
            return developer_error(MEMORY_EXHAUSTED)
        case Replied():
            return _of_init_reply(outcome, max_result_bytes)


def of_failed_start(reason: str = NOT_PROVISIONED) -> Response:
    """The response if no container could be had: the platform's fault, not the function's."""
    return Response(Status.WHISK_ERROR, {ERROR: reason})


def developer_error(error: Json, size: int | None = None) -> Response:
    return Response(Status.DEVELOPER_ERROR, {ERROR: error}, size)


def _of_run_reply(reply: Replied, max_bytes: int) -> Response:
    if reply.length > max_bytes:
        return Response(Status.APPLICATION_ERROR, {ERROR: _truncated(reply, max_bytes)}, reply.length)
    text = reply.body.decode("utf-8", errors="replace")
    size = len(text)
    value = _object_or_array(text)
    if reply.status != 200:
        error = value[ERROR] if isinstance(value, Mapping) and ERROR in value else _invalid(text)
        return developer_error(error, size)
    if value is None:
        return developer_error(_invalid(text), size)
    if isinstance(value, Mapping) and ERROR in value:
        return Response(Status.APPLICATION_ERROR, {ERROR: value[ERROR]}, size)
    return Response(Status.SUCCESS, value, size)


def _of_init_reply(reply: Replied, max_bytes: int) -> Response | None:
    if reply.length > max_bytes:
        return developer_error(_truncated(reply, max_bytes), reply.length)
    if reply.status == 200:
        return None
    text = reply.body.decode("utf-8", errors="replace")
    value = _object_or_array(text)
    if isinstance(value, Mapping) and ERROR in value:
        return developer_error(value[ERROR], len(text))
    failed = "The action failed during initialization"
    return developer_error(f"{failed}: {text}" if text else f"{failed}.", len(text))


def _object_or_array(text: str) -> JsonObject | Sequence[Json] | None:
    try:
        value = parse(text)
    except ValueError:
        return None
    return value if isinstance(value, (Mapping, list)) else None


def _invalid(text: str) -> str:
    return f"The action did not produce a valid JSON or JSON Array response: {text}"


def _truncated(reply: Replied, max_bytes: int) -> str:
    kept = reply.body[:max_bytes].decode("utf-8", errors="replace")
    return (
        "The action produced a response that exceeded the allowed length: "
        f"{reply.length} > {max_bytes} bytes. The truncated response was: {kept}"
    )
