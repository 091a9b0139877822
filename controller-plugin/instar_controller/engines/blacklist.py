"""Which namespaces may not run anything.

One rule: a namespace is looked up when it is first seen, and all of them again every few minutes; between that the
last answer holds. As long as the database does not answer nobody is blocked who was not before, and it is not asked
for each message.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence

from instar_controller.cluster_ports import Subjects
from instar_controller.errors import StoreError

logger = logging.getLogger(__name__)

MOST = 10_000  # namespaces that are remembered, those seen last


class Blacklist:
    """Safe for several threads. `start` it before use, `close` it after."""

    def __init__(
        self,
        subjects: Subjects,
        *,
        interval_s: float = 300.0,
        rest_s: float = 5.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`rest_s`: for so long the database is left alone once it has failed."""
        self._subjects = subjects
        self._interval_s = interval_s
        self._rest_s = rest_s
        self._now = now
        self._lock = threading.Lock()
        self._known: OrderedDict[str, bool] = OrderedDict()  # whether blocked, least recently seen first
        self._rests_until_s = float("-inf")
        self._is_closed = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="instar-blacklist", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._is_closed.set()
        self._thread.join()

    def known(self, namespace: str) -> bool | None:
        """Whether a namespace is blocked; None if it has to be looked up. Never waits."""
        with self._lock:
            blocked = self._known.get(namespace)
            if blocked is not None:
                self._known.move_to_end(namespace)
            elif self._now() < self._rests_until_s:
                return False
            return blocked

    def look_up(self, namespace: str) -> bool:
        """Whether a namespace is blocked. May wait for the database; never raises."""
        known = self.known(namespace)
        if known is None:
            self._ask([namespace])
        return bool(self.known(namespace))

    def refresh(self) -> None:
        """Look all of them up again."""
        with self._lock:
            namespaces = list(self._known)
        if namespaces:
            self._ask(namespaces)

    def _ask(self, namespaces: Sequence[str]) -> None:
        try:
            blocked = self._subjects.blocked(namespaces)
        except StoreError as error:
            logger.warning("it is not known who is blocked: %s", error)
            with self._lock:
                self._rests_until_s = self._now() + self._rest_s
            return
        with self._lock:
            for namespace in namespaces:
                self._known[namespace] = namespace in blocked
            while len(self._known) > MOST:
                self._known.popitem(last=False)

    def _keep_up(self) -> None:
        while not self._is_closed.wait(self._interval_s):
            self.refresh()
