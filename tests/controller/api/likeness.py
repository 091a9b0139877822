"""Whether an answer is like the recorded one: the same status, headers, keys and texts.

What may differ is named here, once: ids, times, request ids, what depends on how fast or warm things were, and the
parts of a traceback that name files. Everything else must be equal.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from recordings import Recorded
from rest_client import Answer

HEADERS = (
    "access-control-allow-origin",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "allow",
    "content-type",
    "www-authenticate",
)
PRESENT = ("x-request-id", "x-openwhisk-activation-id")

ANY = "<any>"
TIMES = frozenset({"start", "end", "duration", "updated", "waitTime", "__OW_DEADLINE"})
IDS = frozenset({"activationId", "cause", "__OW_ACTIVATION_ID", "__OW_TRANSACTION_ID"})
DEPENDS_ON_WARMTH = frozenset({"initTime", "instar"})

_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT[\d:.]+Z\s+(?=std)")


def compare(recorded: Recorded, answer: Answer) -> list[str]:
    """What is not alike, in words; nothing if all is."""
    found = compare_heads(recorded, answer)
    if recorded.method != "HEAD":
        ours, theirs = body_of(recorded, answer.body.decode()), body_of(recorded, recorded.text)
        if ours != theirs:
            found.append(f"body\n  ours     {ours}\n  recorded {theirs}")
    return found


def compare_heads(recorded: Recorded, answer: Answer) -> list[str]:
    """The same of status and headers alone."""
    found = [] if answer.status == recorded.status else [f"status {answer.status}, not {recorded.status}"]
    for name in HEADERS:
        ours, theirs = answer.headers.get(name), recorded.headers.get(name)
        if ours != theirs:
            found.append(f"header {name}: {ours!r}, not {theirs!r}")
    for name in PRESENT:
        if (name in answer.headers) != (name in recorded.headers):
            found.append(f"header {name}: {answer.headers.get(name)!r}, recorded {recorded.headers.get(name)!r}")
    return found


def body_of(recorded: Recorded, text: str) -> Any:
    """A body to compare: JSON with what may differ replaced, or the text as it is."""
    is_json = recorded.headers.get("content-type") == "application/json"
    return normal(json.loads(text)) if is_json else text


def normal(value: Any) -> Any:
    """`value` with everything replaced that may differ."""
    match value:
        case Mapping() if set(value) == {"error", "code"}:
            return {"error": value["error"], "code": ANY}
        case Mapping():
            return {key: _normal_field(key, item) for key, item in value.items()}
        case list() if value and all(isinstance(item, Mapping) and set(item) >= {"key", "value"} for item in value):
            return _normal_notes(value)
        case list():
            return [normal(item) for item in value]
        case _:
            return value


def _normal_field(key: str, value: Any) -> Any:
    if key in TIMES or key in IDS:
        return ANY
    if key == "logs" and isinstance(value, list):
        return _normal_logs(value)
    return normal(value)


def _normal_notes(notes: list[Any]) -> dict[str, Any]:
    """Annotations and parameters by their key: their order is of no significance."""
    return {
        note["key"]: _normal_field(note["key"], {k: v for k, v in note.items() if k != "key"})
        for note in notes
        if note["key"] not in DEPENDS_ON_WARMTH
    }


def _normal_logs(lines: list[str]) -> list[str]:
    """Lines without their time; of a traceback its last line; the two streams apart, each in its order."""
    texts = [_STAMP.sub("", line) for line in lines]
    if any("Traceback" in text for text in texts):
        texts = [text for text in texts if re.match(r"stderr: \w+Error", text)]
    return sorted(texts, key=lambda text: text[:6])
