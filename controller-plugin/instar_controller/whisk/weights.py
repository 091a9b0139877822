"""The weights of a start: as its container reports them, and as the activation record tells of them.

One rule: a report comes out of a container, which runs other people's code. One that does not hold what it should is
no report; nothing else depends on it.

Only Instar's own containers send one, with the answer to `/run`:

    X-Instar-Weights: {"fetchedBytes": 97271808, "presentBytes": 0, "waitedMs": 41.7}
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from instar_controller.whisk.values import Json, JsonObject, parse

HEADER = "X-Instar-Weights"
MAX_CHARACTERS = 512
MOST = 2**53 - 1  # what every client's JSON can count to


@dataclass(frozen=True, slots=True)
class Amounts:
    """Bytes of weights on the node: those that were there, and those that came since."""

    present_bytes: int
    fetched_bytes: int


@dataclass(frozen=True, slots=True)
class Report:
    """What a container says: the amounts since it opened the model, and how long the run waited for weights."""

    amounts: Amounts
    waited_ms: int


def parse_report(header: str | None) -> Report | None:
    """The report in the header's value; None if there is none."""
    if header is None or len(header) > MAX_CHARACTERS:
        return None
    try:
        value = parse(header)
    except ValueError:
        return None
    if not isinstance(value, Mapping):
        return None
    present, fetched, waited = (_number(value.get(key)) for key in ("presentBytes", "fetchedBytes", "waitedMs"))
    if present is None or fetched is None or waited is None:
        return None
    return Report(Amounts(present, fetched), waited)


def note(report: Report | None, decided: Amounts | None) -> JsonObject | None:
    """What a record says: the amounts since the start was decided, where they are known, else since the container
    opened the model. None where there is nothing to say.
    """
    amounts = decided or (report.amounts if report else None)
    if amounts is None:
        return None
    told: dict[str, Json] = {"presentBytes": amounts.present_bytes, "fetchedBytes": amounts.fetched_bytes}
    return told if report is None else {**told, "waitedMs": report.waited_ms}


def _number(value: Json) -> int | None:
    """A number from 0 to `MOST`, rounded."""
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= MOST:
        return None
    return round(value)
