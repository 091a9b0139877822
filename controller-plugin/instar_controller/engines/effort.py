"""How much planning was done, and what came of it: for metrics.

One rule: a pair of models counts once for each time that somebody wanted its answer, by where that came from. So what
was found where it is kept and what had to be computed add up to all that was asked for.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Effort:
    """Pairs of models since the start, and the time that they took."""

    planned: int = 0  # a plan was made, and proven
    instead: int = 0  # loading was found to be no slower
    failed: int = 0  # there is no answer: by a mistake of ours, or processes that died over it
    found: int = 0  # an earlier time or another process had the answer
    planning_s: float = 0.0  # processor time of the processes that computed

    @property
    def computed(self) -> int:
        """Pairs whose answer was computed here."""
        return self.planned + self.instead

    def __add__(self, other: Effort) -> Effort:
        return Effort(
            self.planned + other.planned,
            self.instead + other.instead,
            self.failed + other.failed,
            self.found + other.found,
            self.planning_s + other.planning_s,
        )
