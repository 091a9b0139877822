"""Amounts of memory as OpenWhisk writes them: `"256 MB"`, `"268435456 B"`, `"2g"`."""

from __future__ import annotations

import re

from instar_controller.errors import MalformedError
from instar_controller.whisk.fields import shown
from instar_controller.whisk.values import Json

_FORM = re.compile(r"\s*([0-9]{1,18})\s*(GB|MB|KB|B|G|M|K)\s*", re.IGNORECASE)
_FACTORS = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse(value: Json, what: str) -> int:
    """The bytes that `value` means; `what` names it in an error. Raises `MalformedError`."""
    match = _FORM.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise MalformedError(f"{what} must be a number and a unit such as '256 MB', not {shown(value)}")
    return int(match[1]) * _FACTORS[match[2][0].upper()]


def text(size_bytes: int) -> str:
    """The form that every reader takes: in bytes."""
    return f"{size_bytes} B"
