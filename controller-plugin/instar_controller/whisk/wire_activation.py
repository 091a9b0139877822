"""An activation as acknowledgements carry it and documents keep it.

One rule: it can hold whatever OpenWhisk writes, also what `activation.Activation` has no place for (a trigger's,
without duration and annotations; a sequence's, with some of its own), and gives back exactly that. What a controller
insists on is insisted on here.
"""

from __future__ import annotations

from dataclasses import dataclass

from instar_controller.errors import MalformedError
from instar_controller.whisk import activation, fields, parameters
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.fields import Fields
from instar_controller.whisk.parameters import Parameters
from instar_controller.whisk.response import Response, Status
from instar_controller.whisk.values import Json, JsonObject


@dataclass(frozen=True, slots=True)
class WireActivation:
    """One activation; times are epoch milliseconds, `duration` milliseconds. `end` 0: it has none, as a trigger's."""

    activation_id: ActivationId
    namespace: str
    name: str
    version: str
    subject: str
    start: int
    end: int
    duration: int | None
    response: Response
    annotations: Parameters
    logs: tuple[str, ...] = ()
    publish: bool = False
    cause: ActivationId | None = None

    @property
    def is_system_error(self) -> bool:
        """Whether the platform is to blame; a controller counts these against the invoker."""
        return self.response.status is Status.WHISK_ERROR

    def note(self, key: str) -> Json:
        """The value of an annotation; None if there is none."""
        return parameters.find(self.annotations, key)

    def to_json(self) -> JsonObject:
        optional: dict[str, Json] = {"cause": self.cause, "duration": self.duration}
        return {
            "namespace": self.namespace,
            "name": self.name,
            "version": self.version,
            "subject": self.subject,
            "activationId": self.activation_id,
            "start": self.start,
            "end": self.end,
            "response": _response_json(self.response),
            "logs": list(self.logs),
            "annotations": parameters.to_json(self.annotations),
            "publish": self.publish,
            **{key: value for key, value in optional.items() if value is not None},
        }


def of(record: Activation) -> WireActivation:
    """Our own record in this form."""
    return WireActivation(
        activation_id=record.activation_id,
        namespace=record.namespace,
        name=record.name,
        version=record.version,
        subject=record.subject,
        start=record.start,
        end=record.end,
        duration=record.duration,
        response=record.response,
        annotations=parameters.parse(record.annotations, what="annotations"),
        logs=tuple(record.logs),
        publish=record.publish,
        cause=record.cause,
    )


def parse(value: Json, what: str = "an activation") -> WireActivation:
    """The activation that `value` describes; `what` says in errors where it was found. Raises `MalformedError`."""
    return from_fields(fields.parse(value, what))


def from_fields(found: Fields) -> WireActivation:
    """The activation that these fields describe. Raises `MalformedError`."""
    cause = found.optional_text("cause")
    return WireActivation(
        activation_id=activation.parse_id(found.text("activationId")),
        namespace=found.text("namespace"),
        name=found.text("name"),
        version=found.text("version"),
        subject=found.text("subject"),
        start=found.number("start"),
        end=found.number("end"),
        duration=found.optional_number("duration"),
        response=_parse_response(found.fields("response")),
        annotations=parameters.parse(found.array("annotations"), what=f"{found.what}: 'annotations'"),
        logs=found.texts("logs"),
        publish=found.truth("publish"),
        cause=None if cause is None else activation.parse_id(cause),
    )


def _parse_response(found: Fields) -> Response:
    code = found.number("statusCode")
    if code not in tuple(Status):
        raise MalformedError(f"{found.what}: 'statusCode' must be one of 0 to 3, not {code}")
    return Response(Status(code), found.all.get("result"), found.optional_number("size"))


def _response_json(response: Response) -> JsonObject:
    """No result and no size are left out, as the stock invoker does: a time-out has neither from the action."""
    optional: dict[str, Json] = {"result": response.result, "size": response.size}
    return {
        "statusCode": int(response.status),
        **{key: value for key, value in optional.items() if value is not None},
    }
