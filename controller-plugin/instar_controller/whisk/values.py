"""JSON as it crosses our borders: parsed strictly, written compactly.

One rule: what `parse` returns can always be written again as valid JSON in UTF-8. Python's parser is laxer
than the format (NaN, infinities, lone surrogates) and its limits raise errors of other kinds (depth, length
of a number); all of that ends here, as a `ValueError` or as a replacement character. What a document means
is the business of its own file.

How deeply values may be nested is OpenWhisk's limit, not that of the thread that happens to read them: its
controllers read nothing deeper than 1,000 levels, so an answer of that depth would never be understood.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import TypeAlias

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
JsonObject: TypeAlias = Mapping[str, Json]

MAX_DEPTH = 990  # what is around a value in a message or a document takes the other ten
MAX_MESSAGE_DEPTH = 1100  # controllers write what they have read, and an envelope around it

# Python counts levels of JSON as calls, two for a level where texts are mended, and 1,000 of them are not enough.
sys.setrecursionlimit(max(sys.getrecursionlimit(), 4000))

_TEXT = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"')
_NO_BRACKETS = re.compile(r"[^][{}]+")
_LEVELS = {"[": 1, "{": 1, "]": -1, "}": -1}
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_ESCAPED_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


def parse(text: str | bytes, *, max_depth: int = MAX_DEPTH) -> Json:
    """The value that `text` holds; bytes are UTF-8. Raises `ValueError` (never `RecursionError`) if it
    holds none, or one that is nested more deeply than `max_depth` levels.

    A lone surrogate, which JSON can name but UTF-8 cannot carry, becomes "?", as it does on OpenWhisk's own
    wire.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8")
    try:
        value: Json = json.loads(text, parse_constant=_refuse_constant, parse_float=_finite)
        if text.count("[") + text.count("{") > max_depth and _depth(text) > max_depth:
            raise ValueError(f"nested too deeply: more than {max_depth} levels")
        return _without_lone_surrogates(value) if _ESCAPED_SURROGATE.search(text) else value
    except RecursionError:
        raise ValueError("nested too deeply") from None


def compact(value: Json) -> str:
    """`value` as JSON without blanks, non-ASCII characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


def compact_bytes(value: Json) -> int:
    """The size of `value` as compact JSON in UTF-8, in bytes."""
    return len(compact(value).encode())


def _depth(text: str) -> int:
    """How many levels valid JSON has."""
    brackets = _NO_BRACKETS.sub("", _TEXT.sub("", text))
    return max(accumulate(_LEVELS[bracket] for bracket in brackets), default=0)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _finite(text: str) -> float:
    number = float(text)
    if math.isinf(number):
        raise ValueError(f"the number {text[:40]} is too large")
    return number


def _without_lone_surrogates(value: Json) -> Json:
    # The parser has already joined proper pairs, so every surrogate that is left stands alone.
    match value:
        case str():
            return _SURROGATE.sub("?", value)
        case Mapping():
            return {_SURROGATE.sub("?", key): _without_lone_surrogates(item) for key, item in value.items()}
        case Sequence():
            return [_without_lone_surrogates(item) for item in value]
        case _:
            return value
