"""What a container says of having become another function, in its answer to `/transform`.

One rule: what it says is told and nothing depends on it. What it does not say, or says wrongly, is not told.

    200 {"ok":true,"instar":{"how":"transformed", …}}
    200 {"ok":true,"instar":{"how":"loaded","why":"one sentence", …}}
    409 {"error":"one sentence"}
"""

from __future__ import annotations

from collections.abc import Mapping

from instar_controller.whisk.values import Json, JsonObject, parse

WAYS = ("transformed", "loaded")  # with the process that holds models kept, or a fresh load
MAX_REASON = 300  # characters that are told of a refusal


def how(body: bytes) -> str | None:
    """In which of `WAYS` it became the function."""
    told = _object(body).get("instar")
    found = told.get("how") if isinstance(told, Mapping) else None
    return found if isinstance(found, str) and found in WAYS else None


def why(body: bytes) -> str | None:
    """Why it loaded although there was a plan, on one line."""
    told = _object(body).get("instar")
    return _line(told.get("why")) if isinstance(told, Mapping) else None


def reason(body: bytes) -> str:
    """Why it stayed what it was, on one line."""
    return _line(_object(body).get("error")) or "it says no reason"


def _line(told: Json) -> str | None:
    return " ".join(told.split())[:MAX_REASON] or None if isinstance(told, str) else None


def _object(body: bytes) -> JsonObject:
    try:
        value = parse(body)
    except ValueError:
        return {}
    return value if isinstance(value, Mapping) else {}
