"""Changes to JSON documents that keep them JSON: what is behind the parser is reached that way.

The rule: everything random comes from the generator that is passed in, so a seed tells the whole story.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from random import Random
from typing import Any

NUMBERS = (0, -1, 1, 2, 63, 64, 255, 2**16, 2**31, 2**47, 2**48, 2**63 - 1, 2**63, 10**30, 0.5, -0.0, 1e308, 1e999)
TEXTS = ("", "\0", "\n", "\ud800", "é☃", "..", "/", "a" * 300, "9" * 30, "a=b", "None", "__class__", "x\n")
DEEP = 3000  # more nested lists than Python lets a C function recurse through
PLACES = 20_000  # of a document that are looked at

Place = tuple[Any, Any]  # a list or an object, and where in it


def change(random: Random, data: bytes, *, words: Sequence[str] = ()) -> bytes | None:
    """A JSON document like this one; None if this is none. `words` are texts that mean something to its reader."""
    try:
        whole = [json.loads(data)]
    except (ValueError, RecursionError):
        return None
    for _ in range(random.choice((1, 1, 1, 2, 3, 8))):
        _change_once(random, whole, (*words, *TEXTS))
    try:
        return json.dumps(whole[0], separators=(",", ":")).encode("ascii")
    except RecursionError:
        return b"[" * DEEP


def _change_once(random: Random, whole: list[Any], words: Sequence[str]) -> None:
    places = _places(whole)
    holder, at = random.choice(places)
    other_holder, other_at = random.choice(places)
    match random.randrange(9):
        case 0:
            holder[at] = random.choice(NUMBERS)
        case 1:
            holder[at] = random.choice(words)
        case 2:
            holder[at] = random.choice((None, True, False, [], {}, [[]], [None] * 70))
        case 3:
            holder[at] = deepcopy(other_holder[other_at])
        case 4:
            holder[at] = [holder[at]] * random.choice((1, 2, 33, 1100))
        case 5:
            holder[at] = _nudged(random, holder[at], words)
        case 6 if holder is not whole:
            del holder[at]
        case 7 if isinstance(holder, list) and holder is not whole:
            holder.insert(at, deepcopy(other_holder[other_at]))
        case 8 if isinstance(holder, dict):
            holder[random.choice(words)] = holder.pop(at)
        case _:
            holder[at], other_holder[other_at] = deepcopy(other_holder[other_at]), deepcopy(holder[at])


def _nudged(random: Random, value: Any, words: Sequence[str]) -> Any:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return str(value)[:100]
    if isinstance(value, int | float):
        return random.choice((value + 1, value - 1, -value, value * 2, float(value) if abs(value) < 2**60 else 0))
    at = random.randrange(len(value) + 1)
    return random.choice((value[:at], value[at:], value[:at] + random.choice(words) + value[at:], value * 2))


def _places(whole: list[Any]) -> list[Place]:
    found: list[Place] = []
    waiting: list[Any] = [whole]
    while waiting and len(found) < PLACES:
        holder = waiting.pop()
        for at in range(len(holder)) if isinstance(holder, list) else list(holder):
            found.append((holder, at))
            if isinstance(holder[at], list | dict):
                waiting.append(holder[at])
    return found
