"""The recorded exchanges between clients and a real controller, in the order in which they took place."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "recorded" / "rest"

ATTACHED_LINES = 800


@dataclass(frozen=True)
class Recorded:
    """One request and what was answered. `id` names it in reports: its file, its name and its place in there."""

    id: str
    order: int
    name: str
    method: str
    target: str
    sent_headers: Mapping[str, str]
    sent: bytes
    status: int
    headers: Mapping[str, str]
    body: Mapping[str, Any]  # {"text"}, or {"length", "sha256", "head", "tail"} if it was very long

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def text(self) -> str:
        """The body of the answer, rebuilt where it was cut."""
        return rebuild(self.body).decode()

    @property
    def is_cut(self) -> bool:
        """Whether the answer's body was too long to record and cannot be rebuilt."""
        return "text" not in self.body and _rebuilt(self.body) is None


def load() -> list[Recorded]:
    """All of them, oldest first."""
    found = []
    for file in sorted(FOLDER.glob("*.json")):
        for place, entry in enumerate(json.loads(file.read_text(encoding="utf-8"))):
            for step, exchange in enumerate(entry["exchanges"]):
                request, response = exchange["request"], exchange["response"]
                found.append(
                    Recorded(
                        id=f"{file.stem}-{place}-{step}-{entry['name']}",
                        order=exchange["order"],
                        name=entry["name"],
                        method=request["method"],
                        target=request["target"],
                        sent_headers=dict(request["headers"]),
                        sent=rebuild(request["body"]),
                        status=response["status"],
                        headers={name.lower(): value for name, value in response["headers"]},
                        body=response["body"],
                    )
                )
    return sorted(found, key=lambda recorded: recorded.order)


def rebuild(body: Mapping[str, Any]) -> bytes:
    """The bytes of a body; a cut one is rebuilt and checked against its digest."""
    if "text" in body:
        return str(body["text"]).encode()
    rebuilt = _rebuilt(body)
    assert rebuilt is not None, f"a body of {body['length']} bytes cannot be rebuilt"
    return rebuilt


def _rebuilt(body: Mapping[str, Any]) -> bytes | None:
    for candidate in (_filled(body), _with_attached_lines(body)):
        if len(candidate) == body["length"] and hashlib.sha256(candidate).hexdigest() == body["sha256"]:
            return candidate
    return None


def _filled(body: Mapping[str, Any]) -> bytes:
    """Most long bodies are one character many times, with something before and behind."""
    head, tail = body["head"].encode(), body["tail"].encode()
    return bytes(head) + head[-1:] * (body["length"] - len(head) - len(tail)) + tail


def _with_attached_lines(body: Mapping[str, Any]) -> bytes:
    """The code of the action `attach` is numbered lines of filler."""
    lines = "".join(f"{number:05d} a line of filler text\\n" for number in range(ATTACHED_LINES))
    middle = lines + r"\"\"\"\n"  # the code ends with the quotes that enclose them
    head, tail = body["head"], body["tail"]
    overlap = max((k for k in range(len(tail)) if middle.endswith(tail[:k])), default=0)
    return (head[: head.find("00000 a line")] + middle + tail[overlap:]).encode()
