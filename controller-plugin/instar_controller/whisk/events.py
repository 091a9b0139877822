"""User events: what became of an activation, for whoever watches or bills.

One rule: an event says nothing that the activation's record does not say; it is only shorter. Whether events are
wanted at all is a setting.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

from instar_controller.errors import MalformedError
from instar_controller.whisk import activation, fields
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.fields import Fields
from instar_controller.whisk.response import ERROR
from instar_controller.whisk.values import Json, JsonObject
from instar_controller.whisk.wire_activation import WireActivation

_STATUS_CODE = "statusCode"
_BAD_REQUEST = 400  # what OpenWhisk makes of a status code that is no number
_NUMBER = re.compile(r"[+-]?[0-9]{1,18}")
_INT = 1 << 31


@dataclass(frozen=True, slots=True)
class ActivationBody:
    """One activation; times are milliseconds, `init_time` 0 if it was warm. `name` is `ns/[pkg/]name`."""

    name: str
    activation_id: ActivationId
    status_code: int
    duration: int
    wait_time: int
    init_time: int
    kind: str
    conductor: bool
    memory_mb: int
    caused_by: str | None = None
    size: int | None = None
    user_defined_status_code: int | None = None

    event_type = "Activation"

    def to_json(self) -> JsonObject:
        optional: dict[str, Json] = {
            "causedBy": self.caused_by,
            "size": self.size,
            "userDefinedStatusCode": self.user_defined_status_code,
        }
        return {
            "name": self.name,
            "activationId": self.activation_id,
            "statusCode": self.status_code,
            "duration": self.duration,
            "waitTime": self.wait_time,
            "initTime": self.init_time,
            "kind": self.kind,
            "conductor": self.conductor,
            "memory": self.memory_mb,
            **{key: value for key, value in optional.items() if value is not None},
        }


@dataclass(frozen=True, slots=True)
class MetricBody:
    """A controller's count, for instance of a namespace's concurrent invocations."""

    name: str
    value: int

    event_type = "Metric"

    def to_json(self) -> JsonObject:
        return {"metricName": self.name, "metricValue": self.value}


Body: TypeAlias = ActivationBody | MetricBody


@dataclass(frozen=True, slots=True)
class EventMessage:
    """One event. `source` is who says it, `invoker0`; `user_id` the uuid of the invoking namespace; epoch ms."""

    source: str
    subject: str
    namespace: str
    user_id: str
    timestamp: int
    body: Body

    def to_json(self) -> JsonObject:
        return {
            "source": self.source,
            "subject": self.subject,
            "namespace": self.namespace,
            "userId": self.user_id,
            "eventType": self.body.event_type,
            "timestamp": self.timestamp,
            "body": self.body.to_json(),
        }

    def encode(self) -> bytes:
        return fields.encode(self.to_json())


def of(record: WireActivation, *, source: str, user_id: str, now_ms: int) -> EventMessage:
    """The event that tells of `record`, sent by `source` at `now_ms` for the namespace with the uuid `user_id`.

    Raises `MalformedError` for a record that does not say which action ran, as a trigger's.
    """
    body = ActivationBody(
        name=_text_note(record, "path"),
        activation_id=record.activation_id,
        status_code=int(record.response.status),
        duration=record.duration or 0,
        wait_time=_number_note(record, "waitTime"),
        init_time=_number_note(record, "initTime"),
        kind=_text_note(record, "kind"),
        conductor=record.note("conductor") is True,
        memory_mb=_memory_mb(record),
        caused_by=_text_note(record, "causedBy") if record.note("causedBy") is not None else None,
        size=record.response.size,
        user_defined_status_code=user_defined_status_code(record.response.result),
    )
    return EventMessage(source, record.subject, record.namespace, user_id, now_ms, body)


def user_defined_status_code(result: Json) -> int | None:
    """The HTTP status that a web action asks for: `statusCode` of its error or its result; None if it does not."""
    if not isinstance(result, Mapping):
        return None
    error = result.get(ERROR)
    holder = error if isinstance(error, Mapping) and _STATUS_CODE in error else result
    if _STATUS_CODE not in holder:
        return None
    value = holder[_STATUS_CODE]
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -_INT <= value < _INT:
        return _BAD_REQUEST
    return int(value)


def parse(message: bytes) -> EventMessage:
    """The event in `message`. Raises `MalformedError`."""
    found = fields.decode(message, "an event")
    body = _parse_body(found.fields("body"))
    if found.text("eventType") != body.event_type:
        raise MalformedError(f"an event of type '{found.text('eventType')}' has the body of another")
    return EventMessage(
        source=found.text("source"),
        subject=found.text("subject"),
        namespace=found.text("namespace"),
        user_id=found.text("userId"),
        timestamp=found.number("timestamp"),
        body=body,
    )


def _parse_body(found: Fields) -> Body:
    if found.has("metricName"):
        return MetricBody(found.text("metricName"), found.number("metricValue"))
    return ActivationBody(
        name=found.text("name"),
        activation_id=activation.parse_id(found.text("activationId")),
        status_code=found.number("statusCode"),
        duration=found.number("duration"),
        wait_time=found.number("waitTime"),
        init_time=found.number("initTime"),
        kind=found.text("kind"),
        conductor=found.truth("conductor"),
        memory_mb=found.number("memory"),
        caused_by=found.optional_text("causedBy"),
        size=found.optional_number("size"),
        user_defined_status_code=found.optional_number("userDefinedStatusCode"),
    )


def _text_note(record: WireActivation, key: str) -> str:
    value = record.note(key)
    if not isinstance(value, str):
        raise MalformedError(f"the activation {record.activation_id} has no annotation '{key}' that is a text")
    return value


def _number_note(record: WireActivation, key: str) -> int:
    value = record.note(key)
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def _memory_mb(record: WireActivation) -> int:
    limits = record.note("limits")
    memory = limits.get("memory") if isinstance(limits, Mapping) else None
    return memory if isinstance(memory, int) and not isinstance(memory, bool) else 0
