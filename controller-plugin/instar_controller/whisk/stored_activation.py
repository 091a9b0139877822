"""An activation record as a document of OpenWhisk's database.

One rule: the id is made of the namespace and the activation's id, so that an activation has one record, whoever
writes it and however often. Writing it is `engines/keeper`'s business.
"""

from __future__ import annotations

from dataclasses import dataclass

from instar_controller.errors import MalformedError
from instar_controller.whisk import fields, wire_activation
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.fields import Fields
from instar_controller.whisk.values import Json, JsonObject
from instar_controller.whisk.wire_activation import WireActivation

ENTITY_TYPE = "activation"


@dataclass(frozen=True, slots=True)
class StoredActivation:
    """A record in the database. `updated_ms` is when it was written, epoch milliseconds."""

    activation: WireActivation
    updated_ms: int
    revision: str | None = None  # None as long as it is not stored

    @property
    def id(self) -> str:
        return f"{self.activation.namespace}/{self.activation.activation_id}"

    def to_json(self) -> JsonObject:
        revision: dict[str, Json] = {} if self.revision is None else {"_rev": self.revision}
        return {
            **self.activation.to_json(),
            "_id": self.id,
            **revision,
            "entityType": ENTITY_TYPE,
            "updated": self.updated_ms,
        }


def document(record: Activation, *, updated_ms: int) -> JsonObject:
    """The document that keeps our own record."""
    return StoredActivation(wire_activation.of(record), updated_ms).to_json()


def parse(found: JsonObject) -> StoredActivation:
    """The record in a document, whoever wrote it. Raises `MalformedError` if it is none."""
    head = fields.parse(found, "a document")
    id = head.text("_id")
    body = Fields(f"the document '{id[:200]}'", found)
    if body.all.get("entityType", ENTITY_TYPE) != ENTITY_TYPE:
        raise MalformedError(f"{body.what} is no activation")
    stored = StoredActivation(
        activation=wire_activation.from_fields(body),
        updated_ms=body.number("updated") if body.has("updated") else 0,
        revision=body.optional_text("_rev"),
    )
    if stored.id != id:
        raise MalformedError(f"{body.what} holds the activation '{stored.id}'")
    return stored
