"""Whose a topic is to work on: noted on the bus, beside a position of a group that reads nothing.

One rule: the last one to take it has it. The broker compares nothing, so who wants to be sure that nobody else has it
finds that out before, and who has it looks from time to time whether it still does.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

from instar_controller.cluster_ports import Bus, From, Position

RENEW_S = 86_400.0  # a broker forgets positions of groups without members after a week (`offsets.retention.minutes`)


class Claim:
    """One owner's. `owner` is the same for all lives of which never two are there at once. Every method raises
    `BusError`, and the topic has to be there."""

    def __init__(self, bus: Bus, topic: str, owner: str, *, now: Callable[[], float] = time.monotonic) -> None:
        self._bus = bus
        self._topic = topic
        self._group = f"{topic}-owner"
        self._owner = owner
        self._now = now
        self._taken_s = float("-inf")

    def last(self) -> str:
        """Who has taken it last; "" if nobody has."""
        position = self._bus.committed(self._topic, self._group).get(0)
        return "" if position is None else position.note

    def take(self) -> None:
        """It is ours."""
        with closing(self._bus.subscribe(self._topic, self._group, begin=From.EARLIEST)) as writer:
            writer.commit({0: Position(0, self._owner)})
        self._taken_s = self._now()

    @property
    def is_due(self) -> bool:
        """Whether it is time to see to it: so that the broker does not forget it."""
        return self._now() - self._taken_s >= RENEW_S

    def is_ours(self) -> bool:
        """Whether nobody else has taken it since. What the broker has lost is noted again, or soon would have."""
        last = self.last()
        if last not in ("", self._owner):
            return False
        if last == "" or self.is_due:
            self.take()
        return True
