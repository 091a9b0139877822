"""A document as the store keeps it: a key, a revision, a body, and code that is read only when it is needed.

One rule: the body is JSON that the entity's own file wrote and will read; the store looks at none of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from instar_controller.whisk.values import JsonObject

CONCURRENT_CHANGE = "Concurrent modification to resource detected."


class Collection(Enum):
    """What kind of entity a document holds."""

    ACTIONS = "actions"
    PACKAGES = "packages"
    IDENTITIES = "identities"


@dataclass(frozen=True, slots=True)
class Key:
    """Where a document is found. `package` is "" for what lies in no package."""

    collection: Collection
    namespace: str
    name: str
    package: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in (self.namespace, self.package, self.name) if part)


@dataclass(frozen=True, slots=True)
class Document:
    """One stored document. `revision` is 0 until it is stored; `code` is None unless it is being written."""

    key: Key
    body: JsonObject
    updated_ms: int
    revision: int = 0
    code: str | None = None
