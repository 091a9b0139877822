"""Query parameters: numbers within their ranges, and yes or no.

One rule: a value that is there and wrong is an error that names the parameter; it never falls back to a
default.
"""

from __future__ import annotations

from dataclasses import dataclass

from flask import request

from instar_controller.errors import MalformedError

DEFAULT_LIMIT = 30
MAX_LIMIT = 200

_YES = frozenset({"true", "yes", "on", "1"})
_NO = frozenset({"false", "no", "off", "0"})


@dataclass(frozen=True, slots=True)
class Page:
    """Which part of a list is wanted."""

    skip: int
    limit: int


def page(collection: str) -> Page:
    """`skip` and `limit` of the current request; a limit of 0 asks for as many as there may be."""
    limit = _number("limit", collection, DEFAULT_LIMIT)
    skip = _number("skip", collection, 0)
    if not 0 <= limit <= MAX_LIMIT:
        raise MalformedError.query(
            "limit", f"The value '{limit}' is not in the range of 0 to {MAX_LIMIT} for {collection}."
        )
    if skip < 0:
        raise MalformedError.query("skip", f"The value '{skip}' is not greater than or equal to 0 for {collection}.")
    return Page(skip, limit or MAX_LIMIT)


def flag(name: str, *, default: bool) -> bool:
    """Whether the current request says yes to `name`."""
    value = request.args.get(name)
    if value is None:
        return default
    if value.lower() not in _YES | _NO:
        raise MalformedError.query(name, f"'{value}' is not a valid Boolean value")
    return value.lower() in _YES


def epoch_ms(name: str) -> int | None:
    """A time in the current request; None if it names none."""
    value = request.args.get(name)
    if value is None:
        return None
    if not _is_number(value):
        raise MalformedError.query(name, f"Parameter is not a valid value for epoch seconds: {value}")
    return int(value)


def wait_ms(*, most: int) -> int:
    """How long the current request wants to wait for a result."""
    value = request.args.get("timeout")
    if value is None:
        return most
    if not _is_number(value) or not 0 <= int(value) <= most:
        raise MalformedError.query("timeout", f"Timeout must be number of milliseconds up to {most}.")
    return int(value)


def _number(name: str, collection: str, default: int) -> int:
    value = request.args.get(name)
    if value is None:
        return default
    if not _is_number(value):
        raise MalformedError.query(name, f"The value '{value}' is not an integer for {collection}.")
    return int(value)


def _is_number(value: str) -> bool:
    digits = value.removeprefix("-")
    return digits.isascii() and digits.isdigit() and len(digits) <= 18  # within SQLite's integers
