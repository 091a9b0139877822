"""What an activation asks of a node: its action's memory, kind and concurrency, from OpenWhisk's database.

One rule: nobody is kept from running since the database does not answer; what is not known is assumed, and the node,
which reads the action itself, says what is wrong with it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace

from instar_controller.cluster_ports import Entities
from instar_controller.engines.preparing import AT_LEAST_ONCE
from instar_controller.errors import MalformedError, NotFoundError, StoreError
from instar_controller.policies import dispatch
from instar_controller.policies.dispatch import Need
from instar_controller.whisk import parameters, stored_action
from instar_controller.whisk.activation_message import ActivationMessage
from instar_controller.whisk.manifest import Manifest

logger = logging.getLogger(__name__)

ASSUMED_MB = 256  # OpenWhisk's default of an action
HEALTH_TEST_MB = 128


class Needs:
    """Reads each revision of an action once. Safe for several threads; may wait for the database, never raises."""

    def __init__(
        self,
        entities: Entities,
        manifest: Manifest,
        *,
        most: int = 10_000,
        pause_s: float = 5.0,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most` revisions are remembered. A database that did not answer is not asked again for `pause_s`."""
        self._entities = entities
        self._manifest = manifest
        self._most = most
        self._pause_s = pause_s
        self._now = now
        self._lock = threading.Lock()  # for what follows
        self._known: OrderedDict[tuple[str, str], Need] = OrderedDict()
        self._asks_after_s = float("-inf")

    def __call__(self, message: ActivationMessage) -> Need:
        id, revision = message.action.full_name, message.revision
        function = dispatch.function(message.user.namespace, id, revision)
        if message.action.is_health_test:
            return Need(function, HEALTH_TEST_MB)  # a node that has no image for it answers all the same
        return replace(self._look_up(id, revision), function=function)

    def _look_up(self, id: str, revision: str | None) -> Need:
        assumed = Need(id, ASSUMED_MB)
        with self._lock:
            known = None if revision is None else self._known.get((id, revision))
            if known is not None:
                self._known.move_to_end((id, str(revision)))
                return known
            if self._now() < self._asks_after_s:
                return assumed
        try:
            document = self._entities.get(id, revision=revision)
            action = stored_action.parse(document, self._manifest).action
        except (NotFoundError, MalformedError) as error:
            logger.debug("nobody knows what %s needs: %s", id, error)
            return assumed
        except StoreError as error:
            logger.warning("nobody knows what %s needs: %s", id, error)
            with self._lock:
                self._asks_after_s = self._now() + self._pause_s
            return assumed
        need = Need(
            function=id,
            memory_mb=action.limits.memory_mb,
            concurrency=max(1, action.limits.concurrency),
            kind=action.exec.kind,
            may_run_twice=parameters.is_true(action.annotations, AT_LEAST_ONCE),
        )
        if revision is not None:
            with self._lock:
                self._known[id, revision] = need
                while len(self._known) > self._most:
                    self._known.popitem(last=False)
        return need
