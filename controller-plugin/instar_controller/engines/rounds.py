"""Threads that do one thing each, again and again, until they are told to stop.

One rule: a bus that fails costs a round and a pause, and so does a mistake of ours; neither ends a thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from instar_controller.errors import BusError

logger = logging.getLogger(__name__)


class Rounds:
    """`start` once, `stop`, then `join`. A round that takes long asks `is_stopping`, or waits by `pause`."""

    def __init__(self, name: str, *, pause_s: float) -> None:
        """The threads are called `name` and the round's own name. `pause_s` follows each round that has failed."""
        self._name = name
        self._pause_s = pause_s
        self._stopping = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def is_stopping(self) -> bool:
        return self._stopping.is_set()

    def start(self, *rounds: Callable[[], None]) -> None:
        """Begin with all of them, a thread each."""
        for round in rounds:
            name = f"{self._name}-{round.__name__}"
            thread = threading.Thread(target=self._go_on, args=(round,), name=name, daemon=True)
            self._threads.append(thread)
            thread.start()

    def stop(self) -> None:
        """Begin no more rounds, and end each pause."""
        self._stopping.set()

    def join(self) -> None:
        """Wait until the last rounds have ended."""
        for thread in self._threads:
            thread.join()

    def pause(self, seconds: float) -> None:
        """Wait for so long, or until it is over."""
        self._stopping.wait(seconds)

    def _go_on(self, round: Callable[[], None]) -> None:
        while not self.is_stopping:
            try:
                round()
            except BusError as error:
                logger.warning("%s", error)
                self.pause(self._pause_s)
            except Exception:  # a mistake of ours must not end its program's work
                logger.exception("round %s of %s failed", round.__name__, self._name)
                self.pause(self._pause_s)
