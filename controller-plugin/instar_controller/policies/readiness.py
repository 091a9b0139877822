"""Whether a program takes work, by what it needs for it.

One rule: what cannot be done here is not asked for, and what was sent all the same waits in its topic, where it is
safe, for as long as whoever has sent it can be expected to wait. So a short outage costs nobody an answer, and a long
one costs nobody more than a failure that says so.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HOLD_S = 60.0  # a controller waits for 180 s at least, and what is begun then may still take a while


@dataclass(frozen=True, slots=True)
class Appetite:
    """What a program does about work: `asks` says to others that it wants some, `reads` takes what was sent to it."""

    asks: bool
    reads: bool


def appetite(*, is_wanted: bool, away_s: float | None, hold_s: float = HOLD_S) -> Appetite:
    """Of a program that an operator lets have work, or not, and whose maker of containers has not answered for
    `away_s`; None: it answers."""
    if away_s is None:
        return Appetite(asks=is_wanted, reads=True)
    return Appetite(asks=False, reads=away_s >= hold_s)


def obstacles(phase: str | None, troubles: Mapping[str, str | None]) -> Sequence[str]:
    """Why no work can be done, as a probe is told: the phase first, then what does not answer."""
    return [why for why in (phase, *troubles.values()) if why is not None]
