"""What a stock OpenWhisk put on its bus and into its database, for the tests of this folder."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instar_controller.whisk import values
from instar_controller.whisk.values import Json

FOLDER = Path(__file__).parents[2] / "recorded"
CUT = "<cut: "  # where a recording leaves out the middle of something long


@dataclass(frozen=True, slots=True)
class Recorded:
    """One message or document. `text` is as it was sent."""

    label: str
    text: str

    @property
    def value(self) -> Json:
        return values.parse(self.text)

    def __str__(self) -> str:
        return self.label


def messages(topic: str) -> list[Recorded]:
    """The messages of a topic that were recorded whole (`cut_messages` counts the others)."""
    return [
        Recorded(f"{topic}@{entry['offset']} {entry['label']}", entry["value"])
        for entry in _entries("kafka", topic)
        if "value" in entry
    ]


def cut_messages(topic: str) -> int:
    """How many messages of a topic were recorded without their middle."""
    return sum("value_head" in entry for entry in _entries("kafka", topic))


def documents(kind: str, part: str) -> list[Recorded]:
    """The documents in `couchdb/KIND.json` that were recorded whole, as the field `part` has them."""
    found = _entries("couchdb", kind)
    return [
        Recorded(f"{entry['id']} {entry.get('label', kind)}", entry[part])
        for entry in found
        if part in entry and CUT not in entry[part][-100:]
    ]


def experiments() -> Iterator[tuple[str, object]]:
    """What was tried on a real controller by a hand-made invoker, and what was seen."""
    for entry in _entries("kafka", "emulated-invoker"):
        yield entry["experiment"], entry.get("observed")


def _entries(folder: str, name: str) -> list[dict[str, str]]:
    entries: list[dict[str, str]] = json.loads((FOLDER / folder / f"{name}.json").read_text("utf-8"))
    return entries


def exchanges(path: str) -> Iterator[tuple[str, Any]]:
    """What the stock invoker posted to PATH of containers, where the body was recorded whole."""
    for entry in _entries("container", "init-run"):
        head, _, body = entry["request"].partition("\r\n\r\n")
        if head.startswith(f"POST {path} ") and "<cut" not in body:
            yield entry["label"], json.loads(body)


def cut_documents(kind: str) -> int:
    """How many documents were recorded without their middle."""
    return sum(CUT in entry["document"][-100:] for entry in _entries("couchdb", kind))
