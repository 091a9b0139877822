"""Containers that bear our label and are nobody's any more: what the engine did not remove when it was asked to, or
made late, when nobody waited for it any longer.

One rule: whatever has our label, and no record here, is removed. So nothing has to be remembered of what went wrong:
that something did is enough to begin to look, again and again, until the engine has answered, nothing is left, and
what it was asked for before has had its time.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence

from instar_controller.errors import ContainerError

logger = logging.getLogger(__name__)

PAUSE_S, LONGEST_PAUSE_S = 1.0, 5.0  # between two looks, in vain
SETTLED_S = 90.0  # after the last trouble: an engine that stood still goes on with what it was asked before


class Leftovers:
    """Those of one maker of containers. Safe for several threads; `close` it at the end."""

    def __init__(
        self,
        labelled: Callable[[], Sequence[str]],
        is_ours: Callable[[str], bool],
        remove: Callable[[str], None],
        *,
        pause_s: float = PAUSE_S,
        settled_s: float = SETTLED_S,
    ) -> None:
        """`labelled` lists the names of all containers with our label, and `remove` removes one and says its last
        words; both may raise `ContainerError`. `is_ours`: whether somebody here sees to this one."""
        self._labelled = labelled
        self._is_ours = is_ours
        self._remove = remove
        self._pause_s = pause_s
        self._settled_s = settled_s
        self._changed = threading.Condition()  # guards what follows
        self._troubled_s: float | None = None  # when there was trouble last; None: nothing is looked for
        self._is_closed = False
        self._thread: threading.Thread | None = None
        self._told: set[str] = set()  # containers of which it was said that they cannot be removed

    def expect(self) -> None:
        """The engine has failed us, so there may be some: look for them from now on."""
        with self._changed:
            self._troubled_s = time.monotonic()
            if self._thread is None and not self._is_closed:
                self._thread = threading.Thread(target=self._look_on, name="instar-leftovers", daemon=True)
                self._thread.start()

    def close(self) -> bool:
        """Look no more; whether there may be some left."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
            return self._troubled_s is not None

    def look(self) -> Sequence[str]:
        """Remove those that there are; the names of those that cannot be. Raises `ContainerError` if the engine does
        not say what there is."""
        left = [name for name in self._labelled() if not self._is_ours(name)]
        return [name for name in left if not self._is_removed(name)]

    def _is_removed(self, name: str) -> bool:
        try:
            self._remove(name)
        except ContainerError as error:
            if name not in self._told:  # once for each, however often it is tried
                self._told.add(name)
                logger.error("%s; it is tried again, or remove it with `docker rm -f %s`", error, name)
            return False
        self._told.discard(name)
        logger.warning("container %s, which was left over, is removed", name)
        return True

    def _look_on(self) -> None:
        pause_s = self._pause_s
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: self._is_closed, pause_s):
                    return
                began_s = time.monotonic()
            try:
                is_clean = not self.look()
            except ContainerError as error:
                logger.debug("%s", error)
                is_clean = False
            pause_s = self._pause_s if is_clean else min(2 * pause_s, LONGEST_PAUSE_S)
            with self._changed:
                assert self._troubled_s is not None, "else nobody looks"
                if not is_clean:
                    self._troubled_s = max(self._troubled_s, began_s)
                elif time.monotonic() - self._troubled_s >= self._settled_s:
                    self._troubled_s = self._thread = None
                    return
