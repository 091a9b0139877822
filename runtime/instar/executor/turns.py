"""Who has a live model at this moment: any number who run it, or one who changes it.

The rule: nobody runs what is being changed, and what was not changed to its end is never run again. Nobody waits
either: who comes at the wrong moment is told so at once, for a run may last as long as weights take to arrive.
"""

from __future__ import annotations

import threading

from instar.errors import BusyError, TransformationError


class Turns:
    """The turns of one model. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self.is_dirty = False

    @property
    def is_used(self) -> bool:
        """Whether somebody uses the model at this moment."""
        with self._lock:
            return self._users > 0

    def enter(self) -> None:
        """Begin to use the model, until `leave`. Raises `TransformationError` if it is dirty."""
        with self._lock:
            self._refuse_dirty()
            self._users += 1

    def leave(self) -> None:
        """Use it no more."""
        with self._lock:
            self._users -= 1

    def claim(self) -> None:
        """Begin to change the model: it is dirty until `release`.

        Raises `BusyError` if it is in use, and `TransformationError` if it is dirty.
        """
        with self._lock:
            self._refuse_dirty()
            if self._users:
                raise BusyError(f"{self._users} calls use this model, so it stays what it is; choose another one")
            self.is_dirty = True

    def release(self) -> None:
        """The change is complete."""
        with self._lock:
            self.is_dirty = False

    def _refuse_dirty(self) -> None:
        if self.is_dirty:
            raise TransformationError(
                "this model is becoming another one, or could not; if it could not, load the package afresh"
            )
