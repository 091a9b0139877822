"""The channels to a worker: each run takes one, and waits while none is free.

The rule: a channel belongs to one run at a time, and the one that was given back last is taken next. So the worker,
which serves a channel from its first frame on, spends nothing on those that were never needed.

When the worker has gone, who waits is told so, and a channel is closed by the run that still holds it.
"""

from __future__ import annotations

import contextlib
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
        self._free = list(reversed(channels))  # taken from the end: the first one first
        self._closed = False
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def one(self) -> Iterator[Channel | None]:
        """A free channel, once there is one; None if the slots have been closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._free or self._closed)
            channel = self._free.pop() if self._free else None
        try:
            yield channel
        finally:
            if channel is not None:
                self._give_back(channel)

    def close(self) -> None:
        """Nobody gets a channel any more. Those in use are closed when they are given back."""
        with self._changed:
            self._closed = True
            while self._free:
                self._free.pop().close()
            self._changed.notify_all()

    def _give_back(self, channel: Channel) -> None:
        with self._changed:
            if self._closed:
                channel.close()
            else:
                self._free.append(channel)
                self._changed.notify()
