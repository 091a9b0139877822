"""Has what an action's starts will need brought to the node as soon as the action is written.

One rule: nobody waits for it. Who has written an action drops its key here and goes on; one thread reads what it now
is and has its weights prepared. A start that comes sooner is an ordinary one.
"""

from __future__ import annotations

import logging
import threading
from queue import SimpleQueue

from instar_controller.errors import NotFoundError, StoreError
from instar_controller.ports import Store, Weights
from instar_controller.whisk import action as actions
from instar_controller.whisk.document import Collection, Key

logger = logging.getLogger(__name__)

CLOSE_S = 5.0  # for what is being prepared; then the process's end ends it


class Preparer:
    """Follows the actions of a store from now on. `start` it, and `close` it before the store and the weights."""

    def __init__(self, store: Store, weights: Weights) -> None:
        self._store = store
        self._weights = weights
        self._is_closed = False
        self._keys: SimpleQueue[Key | None] = SimpleQueue()  # None: look whether it is closed
        self._thread = threading.Thread(target=self._run, name="instar-preparer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def changed(self, key: Key) -> None:
        """The action or package of this key was written or deleted. Takes no time."""
        if key.collection is Collection.ACTIONS and not self._is_closed:
            self._keys.put(key)

    def close(self) -> None:
        """Prepare no more."""
        self._is_closed = True
        self._keys.put(None)
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        while not self._is_closed:
            key = self._keys.get()
            if key is None:
                continue
            try:
                self._prepare(key)
            except (NotFoundError, StoreError):  # changed again, which is news of its own; or its start will tell
                continue
            except Exception:  # a mistake of ours, which costs this action its head start
                logger.exception("nothing is prepared for %s", key)

    def _prepare(self, key: Key) -> None:
        document = self._store.get(key)
        action = actions.from_document(document, code="")
        if action.exec.binary:
            self._weights.prepare(action, document.revision, lambda: self._store.get_code(key, document.revision))
