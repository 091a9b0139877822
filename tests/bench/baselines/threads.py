"""Threads of a baseline: each is joined, and what went wrong in it is raised where it was started."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

WAIT_S = 120  # nothing here takes as long; who waits longer waits for a thread that has failed


class Thread:
    """A thread for the length of a `with`. Its error is raised at the end, before any other."""

    def __init__(self, name: str, act: Callable[[], None]) -> None:
        self._act = act
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def _run(self) -> None:
        try:
            self._act()
        except BaseException as error:
            self._error = error

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._thread.join(WAIT_S)
        if self._error is not None:
            raise self._error


def wait(event: threading.Event) -> None:
    """Wait for an event. Raises `TimeoutError`."""
    if not event.is_set() and not event.wait(WAIT_S):
        raise TimeoutError(f"nothing happened for {WAIT_S} s")
