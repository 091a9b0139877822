"""When somebody who did not answer is asked again, without asking all the time or saying so each time.

One rule: the first failure of a row is worth a line in the log, and so is that it is over; every further one doubles
the pause, up to a limit. It reads the clock that it is given, and never waits.
"""

from __future__ import annotations

import time
from collections.abc import Callable


class Pause:
    """For one thread. `most_s` is the longest pause, the first one is `first_s`."""

    def __init__(self, first_s: float, most_s: float, now_s: Callable[[], float] = time.monotonic) -> None:
        self._first_s = first_s
        self._most_s = most_s
        self._now_s = now_s
        self._failures = 0
        self._until_s = 0.0

    @property
    def has_failed(self) -> bool:
        """Whether the last attempt failed."""
        return self._failures > 0

    @property
    def left_s(self) -> float:
        """How long nothing is to be attempted; 0 if it may be."""
        return max(0.0, self._until_s - self._now_s()) if self._failures else 0.0

    def failed(self) -> bool:
        """An attempt failed; whether it is the first one of a row."""
        self._until_s = self._now_s() + min(self._most_s, self._first_s * 2.0**self._failures)
        self._failures = min(self._failures + 1, 32)
        return self._failures == 1

    def succeeded(self) -> bool:
        """An attempt succeeded; whether the one before had failed."""
        was_failing, self._failures = self._failures > 0, 0
        return was_failing
