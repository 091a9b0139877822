"""How long the parts of one piece of work take: each ends where the next one begins."""

from __future__ import annotations

import time


class Laps:
    """A clock that runs from its making."""

    def __init__(self) -> None:
        self._began_ns = self._lap_ns = time.perf_counter_ns()
        self._found_ns: dict[str, int] = {}

    def end(self, name: str) -> None:
        """The part of this name ends here."""
        now = time.perf_counter_ns()
        self._found_ns[name] = now - self._lap_ns
        self._lap_ns = now

    def add(self, name: str, ns: int) -> None:
        """A part that somebody else has measured, beside the others."""
        self._found_ns[name] = ns

    def ms(self) -> dict[str, float]:
        """The parts in milliseconds, and `total` from the beginning to the end of the last one."""
        return {
            name: round(ns / 1e6, 3)
            for name, ns in {**self._found_ns, "total": self._lap_ns - self._began_ns}.items()
        }
