"""The channels to a worker: each run takes one, and waits while none is free.

The rule: a channel belongs to one run at a time, and the first free one is taken. So a run that is alone always
gets the first, which is the worker's main thread, and the worker spends nothing on those that were never needed.

When the worker has gone, who waits is told so, and a channel is closed by the run that still holds it.
"""

from __future__ import annotations

import contextlib
import heapq
import threading
from collections.abc import Iterator, Mapping, Sequence

from instar.action.channel import Channel
from instar.action.frames import SLOTS

VARIABLE = "__OW_ALLOW_CONCURRENT"


def allowed(environ: Mapping[str, str]) -> int:
    """How many runs a container with this environment may execute at once; OpenWhisk's rule."""
    return SLOTS if environ.get(VARIABLE) == "true" else 1


class Slots:
    """Owns the channels. Any thread may take one."""

    def __init__(self, channels: Sequence[Channel]) -> None:
        self._channels = channels
        self._free = list(range(len(channels)))  # a heap
        self._claimed = False  # by somebody who changes the function
        self._closed = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def one(self) -> Iterator[Channel | None]:
        """A free channel, once there is one; None if the slots have been closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._closed)
            number = heapq.heappop(self._free) if self._free else None
        try:
            yield None if number is None else self._channels[number]
        finally:
            if number is not None:
                self._give_back(number)

    def claim(self) -> bool:
        """Take all channels, if no run has one: from now on runs wait, until `release` or `close`."""
        with self._changed:
            if self._closed or len(self._free) < len(self._channels):
                return False
            self._free = []
            self._claimed = True
            return True

    def release(self) -> None:
        """Let runs begin again."""
        with self._changed:
            self._free = list(range(len(self._channels)))
            self._claimed = False
            self._changed.notify_all()

    def close(self) -> None:
        """Nobody gets a channel any more. Those in use are closed when they are given back."""
        with self._changed:
            for number in range(len(self._channels)) if self._claimed else self._free:
                self._channels[number].close()
            self._free, self._claimed, self._closed = [], False, True
            self._changed.notify_all()

    def _give_back(self, number: int) -> None:
        with self._changed:
            if self._closed:
                self._channels[number].close()
            else:
                heapq.heappush(self._free, number)
                self._changed.notify()
