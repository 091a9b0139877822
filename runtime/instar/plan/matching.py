"""Which operator of the source becomes which of the target: linear in the operators of both.

Operators are matched within their type, in execution order, in three rounds: those whose weights hold the very same
bytes first, then those of equal form, then whatever is left of the type. Only operators of one type are ever
matched, so what a match costs never depends on the other matches, but no operator is matched twice.

The source of the last round alone: Optimus (EuroSys'24). The two before it find, in a model that differs in depth,
the operators that need no new shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from instar.plan.outline import Outline

Key = TypeVar("Key", str, bytes)

NONE = -1


def match(source: Outline, target: Outline) -> list[int]:
    """For each operator of the target the source's operator that becomes it, or `NONE`."""
    found = [NONE] * len(target.operators)
    taken = bytearray(len(source.operators))
    _round(source.by_content, target.by_content, found, taken)
    _round(source.by_form, target.by_form, found, taken)
    _round(source.by_operator, target.by_operator, found, taken)
    return found


def unmatched(source: Outline, found: list[int]) -> list[int]:
    """The source's operators that become nothing, in execution order."""
    taken = bytearray(len(source.operators))
    for position in found:
        if position != NONE:
            taken[position] = 1
    return [position for position, is_taken in enumerate(taken) if not is_taken]


def _round(
    mine: Mapping[Key, tuple[int, ...]], theirs: Mapping[Key, tuple[int, ...]], found: list[int], taken: bytearray
) -> None:
    for key in mine.keys() & theirs.keys():
        here = [position for position in mine[key] if not taken[position]]
        there = [position for position in theirs[key] if found[position] < 0]
        for source, target in zip(here, there, strict=False):
            found[target] = source
            taken[source] = 1
