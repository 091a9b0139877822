"""What a stock controller asked of a stock invoker, and all that came of it, activation by activation."""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from instar_controller.errors import NotFoundError
from instar_controller.whisk.values import JsonObject

FOLDER = Path(__file__).parents[2] / "recorded"
CUT = "<cut"

_ID = re.compile(r'"(?:activationId|activation_id|__OW_ACTIVATION_ID|response)":\s*"([0-9a-f]{32})"')
_ATTACHMENT = "e699c9bc-b71d-4dcd-99c9-bcb71d2dcd3b"  # the code of `attach`: numbered lines of filler
_ATTACHED = (
    'def main(args):\n    return {"len": len(DATA)}\n\nDATA = """\n'
    + "".join(f"{number:05d} a line of filler text\n" for number in range(800))
    + '"""\n'
).encode()


@dataclass(frozen=True)
class Exchange:
    """One request to a container and its answer. `body` is None where it was not recorded whole."""

    path: str
    body: Any
    status: int
    answer: bytes


@dataclass
class Case:
    """One activation message, and what was seen of its activation; None or nothing where nothing was recorded."""

    label: str
    message: str
    exchanges: list[Exchange] = field(default_factory=list)
    acks: list[tuple[str, Any]] = field(default_factory=list)  # what each is called, and it
    event: Any = None
    record: Any = None
    is_cut: bool = False  # the result was too long to be recorded

    @property
    def asked(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = json.loads(self.message)
        return found

    @property
    def id(self) -> str:
        return str(self.asked["activationId"])

    @property
    def action(self) -> str:
        return f"{self.asked['action']['path']}/{self.asked['action']['name']}"

    @property
    def began_cold(self) -> bool:
        return any(exchange.path == "/init" for exchange in self.exchanges)

    def __str__(self) -> str:
        return self.label


def load() -> list[Case]:
    """All of them, in the order in which they were sent."""
    cases = [Case(f"{at['offset']} {at['label']}", at["value"]) for at in _entries("kafka/invoker0.json")]
    by_id = {case.id: case for case in cases}
    for entry in _entries("container/init-run.json"):
        whose = _id(entry["request"])
        if whose is None:  # its request was cut: the label says whose it is
            (whose,) = (case.id for case in cases if case.label.endswith(entry["label"].partition(" for: ")[2]))
        by_id[whose].exchanges.append(_exchange(entry))
    for entry in _entries("kafka/completed0.json"):
        text = entry.get("value", entry.get("value_head", ""))
        case = by_id[_id(text) or ""]
        case.is_cut = case.is_cut or "value" not in entry
        case.acks.append((entry["label"].partition(" for: ")[0], json.loads(text) if "value" in entry else None))
    for entry in _entries("kafka/events.json"):
        whose = _id(entry["value"])
        if whose in by_id:
            by_id[whose].event = json.loads(entry["value"])
    for entry in _entries("couchdb/activation.json"):
        whose = entry["id"].partition("/")[2]
        if whose in by_id and CUT not in entry["document"]:
            by_id[whose].record = json.loads(entry["document"])
    return cases


class RecordedEntities:
    """The recorded actions, each at the revisions that it was recorded at."""

    def __init__(self) -> None:
        self._documents: dict[str, dict[str, JsonObject]] = {}
        for file in sorted((FOLDER / "couchdb").glob("action-*.json")):
            for entry in json.loads(file.read_text(encoding="utf-8")):
                self._add({**json.loads(entry["sent"]), "_rev": json.loads(entry["answer"])["rev"]})
                if "storedAfterwards" in entry:
                    self._add(json.loads(entry["storedAfterwards"]))

    def get(self, id: str, *, revision: str | None = None) -> JsonObject:
        known = self._documents.get(id, {})
        if not known or (revision is not None and revision not in known):
            raise NotFoundError(f"{id} at {revision}")
        return known[revision] if revision is not None else list(known.values())[-1]

    def attachment(self, id: str, name: str, *, revision: str | None = None) -> bytes:
        assert (id, name) == ("guest/attach", _ATTACHMENT)
        stub: Any = self.get(id, revision=revision)["_attachments"]
        digest = b64encode(hashlib.md5(_ATTACHED, usedforsecurity=False).digest()).decode()
        assert stub[name]["digest"] == f"md5-{digest}", "the code has been rebuilt as it was"
        return _ATTACHED

    def changes(self, since: str, *, timeout_s: float, most: int) -> Any:
        raise NotImplementedError

    def _add(self, document: JsonObject) -> None:
        self._documents.setdefault(str(document["_id"]), {})[str(document["_rev"])] = document


def _entries(name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((FOLDER / name).read_text(encoding="utf-8"))
    return found


def _id(text: str) -> str | None:
    found = _ID.search(text)
    return None if found is None else found[1]


def _exchange(entry: Mapping[str, Any]) -> Exchange:
    head, _, body = entry["request"].partition("\r\n\r\n")
    status, _, answer = entry["response"].partition("\r\n\r\n")
    return Exchange(
        path=head.split()[1],
        body=None if CUT in body else json.loads(body),
        status=int(status.split()[1]),
        answer=answer.encode(),
    )
