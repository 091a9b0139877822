"""How long to wait before a source is tried again, and when to give up. Pure: the clock and the dice are arguments.

The rule: a source that still gives bytes is never given up before the deadline; one that gives none is, after a few
tries.
"""

from __future__ import annotations

from dataclasses import dataclass

# Of a pause: the rest is drawn, so that the readers of many nodes do not come back to one server all at once.
LEAST_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a transfer goes on in spite of failures."""

    first_s: float = 0.1  # pause after one failure: a connection that was reset is there again at once
    longest_s: float = 5.0  # doubling stops here: a request is waiting, and one try costs a server little
    failures: int = 5  # in a row, without a byte of progress: 1.5 s of pauses, more than a restart of a proxy takes
    deadline_s: float = 600.0  # for everything: the longest that OpenWhisk lets an action run

    def __post_init__(self) -> None:
        assert 0 < self.first_s <= self.longest_s, self
        assert self.failures >= 1, self


def delay_s(
    failures: int, elapsed_s: float, patience: Patience, *, retry_after_s: float | None = None, draw: float
) -> float | None:
    """Seconds to wait before the next try; None: give up.

    `failures` have happened in a row without progress, at least one; `elapsed_s` is the time since the transfer
    began. `retry_after_s` is what the source asked for, which is never cut short. `draw` is random, in [0, 1).
    """
    if failures >= patience.failures:
        return None
    doubled = patience.first_s * 2.0 ** min(failures - 1, 63)
    delay = min(doubled, patience.longest_s) * (LEAST_SHARE + (1 - LEAST_SHARE) * draw)
    if retry_after_s is not None:
        delay = max(delay, retry_after_s)
    if elapsed_s + delay >= patience.deadline_s:
        return None
    return delay
