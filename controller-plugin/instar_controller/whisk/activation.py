"""The activation record: what an invocation leaves behind.

One rule: the record is written once, whole, by whoever completed the invocation; readers only choose how
much of it to show. Three forms of it go over the wire (a single record, a list's line, the stored document)
and all are made here.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NewType

from instar_controller.errors import MalformedError
from instar_controller.whisk.response import Response, Status
from instar_controller.whisk.values import Json, JsonObject

ActivationId = NewType("ActivationId", str)

_ID = re.compile(r"[0-9a-f]{32}")


def parse_id(text: str) -> ActivationId:
    """The id that `text` is. Raises `MalformedError`."""
    if len(text) != 32:
        raise MalformedError(f"Activation id length is {len(text)} but must be 32.")
    if not _ID.fullmatch(text):
        raise MalformedError("The activation id is not valid.")
    return ActivationId(text)


def new_id() -> ActivationId:
    """An id that no other activation has."""
    return ActivationId(uuid.uuid4().hex)


@dataclass(frozen=True, slots=True)
class Activation:
    """One activation. Times are epoch milliseconds, `duration` milliseconds.

    `namespace` and `subject` are the invoking ones; `path` is the function's own full name, `ns/[pkg/]name`.
    """

    activation_id: ActivationId
    namespace: str
    name: str
    version: str
    subject: str
    start: int
    end: int
    duration: int
    response: Response
    path: str
    kind: str
    limits: JsonObject | None  # the action's, as `ActionLimits.to_json` writes them; None if it was never read
    timeout: bool  # whether it ran into the action's time limit
    wait_time: int  # from the arrival of the request to the start of /init, or of /run if it was warm
    init_time: int | None = None  # only if /init was sent: this is how clients tell a cold start
    binding: str | None = None  # the package binding that it was invoked through, `ns/pkg`
    instar: JsonObject | None = None  # what Instar says about the start: {"start": "cold" | "transformed" | …, …}
    logs: Sequence[str] = ()
    publish: bool = False
    cause: ActivationId | None = None  # the sequence or composition that it is a step of

    @property
    def had_container(self) -> bool:
        """Whether it came as far as a container; else its response says why not."""
        return self.instar is not None

    def without_bulk(self) -> Activation:
        """As much of it as a list shows: no logs, no result."""
        return replace(self, logs=(), response=replace(self.response, result=None))

    def with_logs(self, logs: Sequence[str]) -> Activation:
        return replace(self, logs=tuple(logs))

    @property
    def annotations(self) -> list[JsonObject]:
        """The annotations in the order in which stock records have them."""
        pairs: list[tuple[str, Json]] = [] if self.binding is None else [("binding", self.binding)]
        if self.limits is None:
            pairs += [("path", self.path), ("kind", self.kind)]
        else:
            pairs += [
                ("path", self.path),
                ("waitTime", self.wait_time),
                ("kind", self.kind),
                ("timeout", self.timeout),
                ("limits", self.limits),
            ]
        if self.cause is not None:
            pairs.append(("causedBy", "sequence"))
        if self.init_time is not None:
            pairs.append(("initTime", self.init_time))
        if self.instar is not None:
            pairs.append(("instar", self.instar))
        return [{"key": key, "value": value} for key, value in pairs]

    @property
    def qualified_name(self) -> str:
        """What a list's `name` filter compares: `[pkg/]name`, with the binding's package if there was one."""
        whole = self.path if self.binding is None else f"{self.binding}/{self.name}"
        return whole.partition("/")[2]

    def to_record(self) -> JsonObject:
        """A single record, as `GET activations/<id>` answers."""
        return {
            **self._shared(),
            "logs": list(self.logs),
            "response": self.to_result(),
            "subject": self.subject,
        }

    def to_result(self) -> JsonObject:
        """The response, as `GET activations/<id>/result` answers."""
        response = self.response
        shown: dict[str, Json] = {"result": response.result}
        if response.size is not None:
            shown["size"] = response.size
        return {**shown, "status": response.status.text, "success": response.status is Status.SUCCESS}

    def to_summary(self) -> JsonObject:
        """A line of a list."""
        return {**self._shared(), "statusCode": int(self.response.status)}

    def _shared(self) -> dict[str, Json]:
        cause: dict[str, Json] = {} if self.cause is None else {"cause": self.cause}
        return {
            "activationId": self.activation_id,
            "annotations": self.annotations,
            **cause,
            "duration": self.duration,
            "end": self.end,
            "name": self.name,
            "namespace": self.namespace,
            "publish": self.publish,
            "start": self.start,
            "version": self.version,
        }

    def to_document(self) -> JsonObject:
        """The stored form (section 4.5 of the wire): the response with its status as a number."""
        response: dict[str, Json] = {
            "statusCode": int(self.response.status),
            "result": self.response.result,
        }
        if self.response.size is not None:
            response["size"] = self.response.size
        return {**self._shared(), "logs": list(self.logs), "response": response, "subject": self.subject}

    @staticmethod
    def from_document(document: JsonObject) -> Activation:
        """The record whose stored form `document` is. Raises `KeyError` or `TypeError` if it is not one of
        ours.
        """
        notes = {note["key"]: note["value"] for note in _objects(document["annotations"])}
        response = _object(document["response"])
        return Activation(
            activation_id=ActivationId(_text(document["activationId"])),
            namespace=_text(document["namespace"]),
            name=_text(document["name"]),
            version=_text(document["version"]),
            subject=_text(document["subject"]),
            start=_number(document["start"]),
            end=_number(document["end"]),
            duration=_number(document["duration"]),
            response=Response(
                Status(_number(response["statusCode"])),
                response["result"],
                None if "size" not in response else _number(response["size"]),
            ),
            path=_text(notes["path"]),
            kind=_text(notes["kind"]),
            limits=_object(notes["limits"]) if "limits" in notes else None,
            timeout=notes.get("timeout") is True,
            wait_time=_number(notes.get("waitTime", 0)),
            init_time=None if "initTime" not in notes else _number(notes["initTime"]),
            binding=None if "binding" not in notes else _text(notes["binding"]),
            instar=None if "instar" not in notes else _object(notes["instar"]),
            logs=tuple(_text(line) for line in _sequence(document["logs"])),
            publish=document["publish"] is True,
            cause=None if "cause" not in document else ActivationId(_text(document["cause"])),
        )


def _text(value: Json) -> str:
    if not isinstance(value, str):
        raise TypeError(f"expected a text, not {value!r}")
    return value


def _number(value: Json) -> int:
    if not isinstance(value, int):
        raise TypeError(f"expected a whole number, not {value!r}")
    return value


def _object(value: Json) -> JsonObject:
    if not isinstance(value, Mapping):
        raise TypeError(f"expected an object, not {value!r}")
    return value


def _sequence(value: Json) -> Sequence[Json]:
    if not isinstance(value, list):
        raise TypeError(f"expected an array, not {value!r}")
    return value


def _objects(value: Json) -> list[dict[str, Json]]:
    return [dict(_object(item)) for item in _sequence(value)]
