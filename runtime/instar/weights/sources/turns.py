"""A reader's resource: one thread uses it, any thread may end it.

The rule: what is in use is only broken off; the thread that uses it releases it. A descriptor that is closed under
a thread about to read from it may be another file's by then.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType


class Turns:
    """Use it as a context for each use of the resource; `end` it from anywhere."""

    def __init__(self, *, break_off: Callable[[], None], release: Callable[[], None]) -> None:
        """`break_off` makes a use that is under way fail soon; `release` is called once nobody uses it any more.

        Neither may wait or raise; `release` may be called again.
        """
        self._break_off = break_off
        self._release = release
        self._lock = threading.Lock()
        self._in_use = False
        self.ended = False

    def __enter__(self) -> None:
        with self._lock:
            assert not self._in_use, "a reader belongs to one thread"
            self._in_use = True

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            self._in_use = False
            if self.ended:
                self._release()

    def end(self) -> None:
        """May be called again."""
        with self._lock:
            self.ended = True
            (self._break_off if self._in_use else self._release)()
