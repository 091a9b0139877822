"""How much each namespace invokes: the rate of the running minute, and what is in flight.

One rule: a refused invocation counts in the minute's rate too, as it does on a stock platform; a slot in
flight is held from `admit` to `leave`, whatever happens between. The minute is the clock's: at its turn the
count is 0 again.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence

from instar_controller.errors import ThrottledError
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.limits import EffectiveLimits

_MINUTE_MS = 60_000


class Traffic:
    """Counts by namespace. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._minute = -1
        self._invoked: Counter[str] = Counter()  # in the running minute
        self._held: Counter[str] = Counter()
        self._in_flight: dict[ActivationId, str] = {}

    def admit(self, namespace: str, limits: EffectiveLimits, *, now_ms: int) -> None:
        """Take a slot for one invocation; `leave` gives it back. Raises `ThrottledError`: then none is
        held.
        """
        with self._lock:
            self._turn(now_ms // _MINUTE_MS)
            self._invoked[namespace] += 1
            count, allowed = self._invoked[namespace], limits.invocations_per_minute
            if count > allowed:
                raise ThrottledError(f"Too many requests in the last minute (count: {count}, allowed: {allowed}).")
            count, allowed = self._held[namespace], limits.concurrent_invocations
            if count >= allowed:
                raise ThrottledError(f"Too many concurrent requests in flight (count: {count}, allowed: {allowed}).")
            self._held[namespace] += 1

    def leave(self, namespace: str) -> None:
        """Give the slot back."""
        with self._lock:
            self._held[namespace] -= 1
            if not self._held[namespace]:
                del self._held[namespace]

    def begin(self, activation_id: ActivationId, name: str) -> None:
        """An admitted invocation is on its way; `name` is `ns/[pkg/]name@version`."""
        with self._lock:
            self._in_flight[activation_id] = name

    def end(self, activation_id: ActivationId) -> None:
        with self._lock:
            self._in_flight.pop(activation_id, None)

    def in_flight(self) -> Sequence[tuple[ActivationId, str]]:
        """What is on its way now, oldest first."""
        with self._lock:
            return list(self._in_flight.items())

    def _turn(self, minute: int) -> None:
        if minute != self._minute:
            self._minute = minute
            self._invoked.clear()
