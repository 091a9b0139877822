"""JSON values as environment variables, as the stock runtime turns them into text."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def variables(document: Mapping[str, Any]) -> dict[str, str]:
    """Text as it is, everything else as compact JSON. Raises `ValueError` for what no environment can hold."""
    found = {name: value if isinstance(value, str) else _compact(value) for name, value in document.items()}
    for name, text in found.items():
        if not name or "=" in name or "\0" in name + text:
            raise ValueError(f"{name!r} cannot be an environment variable: it is empty, or has '=' or a null byte")
        (name + text).encode()  # a lone surrogate: UnicodeEncodeError is a ValueError
    return found


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
