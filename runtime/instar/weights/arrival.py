"""One file's weights, as who runs the model sees them: which are there, and how to wait for the others.

The rule: `wait` returns when the chunks are there, or raises why they will not be; it never waits for ever. It says
to everybody on the node what it waits for (`asks.py`), so that this comes first.

Whether the bytes were on the node already, are brought by this process or by another one makes no difference here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Protocol

from instar.errors import InstarError, SourceError
from instar.weights.asks import Asks
from instar.weights.chunkmap import State
from instar.weights.manifest import Weights
from instar.weights.pipeline import Urgency
from instar.weights.residency import Reading
from instar.weights.store import Partial, Whole

LOOK_S = 0.25  # how often who follows another process's file looks whether it is still wanted


class Transfer(Protocol):
    """What an arrival sees of the transfer that it waits for."""

    @property
    def error(self) -> InstarError | None:
        """Why it has failed, if it has."""

    @property
    def fetched_bytes(self) -> int: ...

    @property
    def reused_bytes(self) -> int: ...


class Arrival:
    """A file of weights that is there or on its way. Safe for several threads; `close` lets go of it."""

    def __init__(
        self,
        weights: Weights,
        found: Whole | Partial,
        transfer: Transfer | None = None,
        *,
        reading: Reading | None = None,
        asks: Callable[[], Asks] | None = None,
        nudge: Callable[[], object] = lambda: None,
        patience_s: float = 0.0,
    ) -> None:
        """`reading` is the way of a whole file into memory, if it is not there. `asks` opens what asks are made with,
        `nudge` tells who fetches that there is a new one, and `patience_s` is how long nothing at all may happen
        before a wait is given up.
        """
        self.weights = weights
        self._whole = isinstance(found, Whole) and reading is None
        self._reading = reading
        self._partial = found if isinstance(found, Partial) else None
        self.descriptor = found.descriptor
        self._transfer = transfer
        self._asks = asks
        self._nudge = nudge
        self._patience_s = patience_s
        self._is_abandoned = False
        self._lock = threading.Lock()
        self.present_bytes = weights.size if self._partial is None else self._count()
        self._reused_before = 0 if transfer is None else transfer.reused_bytes
        self.waited_ns = 0

    def __repr__(self) -> str:
        return f"<Arrival {self.weights.digest[:12]}: {'whole' if self.is_whole else 'on its way'}>"

    @property
    def is_whole(self) -> bool:
        """Whether every chunk is there."""
        if not self._whole:
            self._whole = self.has(0, len(self.weights.chunks) - 1)
        return self._whole

    @property
    def error(self) -> InstarError | None:
        """Why what is missing will not come, if that is known."""
        if self._reading is not None:
            return self._reading.error
        if self._whole or self._partial is None:
            return None
        if self._transfer is not None and self._transfer.error is not None:
            return self._transfer.error
        if not self._partial.map.writable and self._partial.map.state is State.FAILED:
            return SourceError(self._partial.map.reason)
        return None

    @property
    def fetched_bytes(self) -> int:
        """What has come from the source since this began, whoever fetched it."""
        if self._partial is None:
            return 0
        arrived = self.weights.size if self.is_whole else self._count()
        return max(0, arrived - self.present_bytes - self.reused_bytes)

    @property
    def reused_bytes(self) -> int:
        """What was copied since this began from files of the node that hold equal tensors."""
        return 0 if self._transfer is None else self._transfer.reused_bytes - self._reused_before

    def has(self, first: int, last: int) -> bool:
        """Whether the chunks `first` to `last`, both included, are there, and in memory as far as that is known."""
        if self._whole:
            return True
        if self._reading is not None:
            return self._reading.reached >= self._end(last)
        return self._partial is None or self._partial.map.has(first, last)

    def wait(self, first: int, last: int, urgency: Urgency = Urgency.REQUEST) -> None:
        """Return when the chunks `first` to `last`, both included, are there.

        Raises `SourceError` or `DigestError` where they will not be.
        """
        if self.has(first, last):
            return
        began = time.monotonic_ns()
        try:
            if self._reading is not None:
                self._reading.wait(self._end(last))
            else:
                self._ask(first, last, urgency)
        finally:
            self.waited_ns += time.monotonic_ns() - began

    def wait_all(self, urgency: Urgency = Urgency.REQUEST) -> None:
        """Return when everything is there. Raises as `wait` does."""
        self.wait(0, len(self.weights.chunks) - 1, urgency)

    def abandon(self) -> None:
        """Have whoever waits give up."""
        self._is_abandoned = True
        if self._reading is not None:
            self._reading.stop()
        if self._partial is not None and self._partial.map.writable:
            self._partial.map.ring()

    def close(self) -> None:
        """Let go of the file. What was mapped of it stays mapped; nobody may wait any more."""
        with self._lock:
            if self._reading is not None:
                self._reading.stop()
            if self._partial is not None:
                self._whole = self.is_whole
                self._partial.close()
                self._partial = None
            elif self.descriptor >= 0:
                os.close(self.descriptor)
            self.descriptor = -1

    def _ask(self, first: int, last: int, urgency: Urgency) -> None:
        assert self._partial is not None and self._asks is not None  # what is whole has them
        asks = self._asks()
        try:
            with asks.asking(urgency, self.weights.digest, first, last):
                self._nudge()
                self._wait(self._partial, first, last)
        finally:
            asks.close()

    def _end(self, chunk: int) -> int:
        """Where a chunk ends, in bytes of the file."""
        return min((chunk + 1) * self.weights.chunk_bytes, self.weights.size)

    def _wait(self, partial: Partial, first: int, last: int) -> None:
        # A map that may only be read cannot be rung, so who follows one looks whether it was abandoned.
        longest_s = self._patience_s if partial.map.writable else min(LOOK_S, self._patience_s)
        seen, since = partial.map.generation, time.monotonic()
        while not partial.map.has(first, last):
            if (error := self.error) is not None:
                raise error
            if self._is_abandoned:
                raise SourceError("nobody waits for these weights any more")
            partial.map.wait(seen, longest_s)
            now = time.monotonic()
            if partial.map.generation != seen:
                seen, since = partial.map.generation, now
            elif now - since >= self._patience_s:
                raise SourceError(
                    f"no byte of weights {self.weights.digest[:16]}… has arrived for {self._patience_s:g} s; "
                    "is the process that fetches them stopped?"
                )

    def _count(self) -> int:
        """Bytes that are there; the last chunk may be a short one."""
        assert self._partial is not None
        flags, size = self._partial.map.flags, self.weights
        count = bytes(flags).count(1) * size.chunk_bytes
        return count - (len(flags) * size.chunk_bytes - size.size if flags and flags[-1] else 0)
