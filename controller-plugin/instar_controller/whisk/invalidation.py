"""What a controller tells the others when it has changed a document: that what they have kept of it is old.

One rule: it only says which document; what it is now is read from the database.
"""

from __future__ import annotations

from dataclasses import dataclass

from instar_controller.whisk import fields
from instar_controller.whisk.values import JsonObject

_WHAT = "a cache invalidation"


@dataclass(frozen=True, slots=True)
class InvalidationMessage:
    """`key` is the document's id; `instance_id` who changed it, as in `controller0`, and knows already."""

    key: str
    instance_id: str
    secondary_key: str | None = None

    def to_json(self) -> JsonObject:
        secondary = {} if self.secondary_key is None else {"secondaryId": self.secondary_key}
        return {"key": {"mainId": self.key, **secondary}, "instanceId": self.instance_id}

    def encode(self) -> bytes:
        return fields.encode(self.to_json())


def parse(message: bytes) -> InvalidationMessage:
    """The invalidation in `message`. Raises `MalformedError`."""
    found = fields.decode(message, _WHAT)
    key = found.fields("key")
    return InvalidationMessage(key.text("mainId"), found.text("instanceId"), key.optional_text("secondaryId"))
