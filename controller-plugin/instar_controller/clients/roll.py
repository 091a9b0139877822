"""The roll: which action has which models, as it is written down beside their plans.

One rule: it can always be made again from the actions themselves. It is kept so that a server that begins anew need
not look into archives whose revision it knows, and so that people see names beside digests. What is damaged counts as
absent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

VERSION = 1
MAX_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Entry:
    """An action's models: those in its archive, by the names by which the function calls them, and the place of one
    that lies elsewhere."""

    action: str  # `ns/[pkg/]name`
    revision: int | str  # of the action's document: a number, or CouchDB's `_rev`
    archived: Mapping[str, str]  # digests
    location: str | None = None  # a path or URL
    code: str | None = None  # what tells one archive from another, where a store says it without the archive


@dataclass(frozen=True, slots=True)
class Roll:
    """Every action that has models, and under which costs (`plans.key_of`) plans are made between them."""

    costs: str
    device: str  # the kind of device whose costs these are
    entries: tuple[Entry, ...]
    located: Mapping[str, str]  # by location: the digest of what was last found there

    def named(self) -> dict[str, str]:
        """The digest of each model by a name for people: that of its action, and the model's own where the action has
        several."""
        found: dict[str, str] = {}
        for entry in sorted(self.entries, key=lambda entry: entry.action):
            models = dict(entry.archived)
            if entry.location in self.located:
                models[str(entry.location).rpartition("/")[2]] = self.located[str(entry.location)]
            for name, digest in sorted(models.items()):
                found[entry.action if len(models) == 1 else f"{entry.action}:{name}"] = digest
        return found


def encode(roll: Roll) -> bytes:
    """As `decode` reads it."""
    return json.dumps({"version": VERSION, **asdict(roll)}, indent=1).encode()


def decode(data: bytes) -> Roll | None:
    """The roll that was encoded; None if these are not its bytes."""
    try:
        document = json.loads(data)
        if document.pop("version") != VERSION:
            return None
        entries = tuple(_entry(entry) for entry in document["entries"])
        return Roll(str(document["costs"]), str(document["device"]), entries, _texts(document["located"]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None


def _entry(value: Any) -> Entry:
    location = value["location"]
    return Entry(
        str(value["action"]),
        value["revision"] if isinstance(value["revision"], str) else int(value["revision"]),
        _texts(value["archived"]),
        None if location is None else str(location),
        value.get("code"),
    )


def _texts(value: Any) -> dict[str, str]:
    return {str(key): str(text) for key, text in value.items()}
