"""Which activations came lately: a broker may deliver a message twice, and none is to be carried out twice for it.

One rule: what is unfinished is never forgotten; what is finished is, once many others have come since.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

from instar_controller.engines.sources import Assignment

MOST = 10_000  # finished ones


class Duplicates:
    """Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: set[tuple[str, str]] = set()  # activation and life
        self._finished: OrderedDict[tuple[str, str], None] = OrderedDict()

    def admit(self, assignment: Assignment) -> bool:
        """Whether it has not come before; from here on it has."""
        key = (assignment.message.activation_id, assignment.life)
        with self._lock:
            if key in self._open or key in self._finished:
                return False
            self._open.add(key)
            return True

    def finish(self, assignment: Assignment) -> None:
        """Nothing more is to be done for it."""
        key = (assignment.message.activation_id, assignment.life)
        with self._lock:
            self._open.discard(key)
            self._finished[key] = None
            if len(self._finished) > MOST:
                self._finished.popitem(last=False)
