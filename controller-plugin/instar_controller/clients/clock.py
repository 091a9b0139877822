"""The machine's time of day."""

from __future__ import annotations

import time


class SystemClock:
    """See `ports.Clock`."""

    def now_ms(self) -> int:
        """Epoch milliseconds."""
        return time.time_ns() // 1_000_000
