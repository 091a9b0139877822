"""Whose a topic is to work on: noted on the bus, beside a position of a group that reads nothing.

One rule: the last one to take it has it. The broker compares nothing, so who wants to be sure that nobody else has it
finds that out before, and who has it looks from time to time whether it still does.
"""

from __future__ import annotations

from contextlib import closing

from instar_controller.cluster_ports import Bus, From, Position


class Claim:
    """One owner's. `owner` is the same for all lives of which never two are there at once. Every method raises
    `BusError`, and the topic has to be there."""

    def __init__(self, bus: Bus, topic: str, owner: str) -> None:
        self._bus = bus
        self._topic = topic
        self._group = f"{topic}-owner"
        self._owner = owner

    def last(self) -> str:
        """Who has taken it last; "" if nobody has."""
        position = self._bus.committed(self._topic, self._group).get(0)
        return "" if position is None else position.note

    def take(self) -> None:
        """It is ours."""
        with closing(self._bus.subscribe(self._topic, self._group, begin=From.EARLIEST)) as writer:
            writer.commit({0: Position(0, self._owner)})

    def is_ours(self) -> bool:
        """Whether nobody else has taken it since. What the broker has lost is noted again."""
        last = self.last()
        if last == "":
            self.take()
        return last in ("", self._owner)
