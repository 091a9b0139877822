"""Makes a dispatcher known to the controllers, as one invoker with the memory of its nodes.

One rule: a controller reads an invoker's memory once, from its first ping; so there is none before the nodes had a
moment to be heard, and the memory is that of those which were. While no node is alive the invoker says that it takes
no work: who invokes then is told at once, and does not wait in vain.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from instar_controller.engines.dispatcher import Dispatcher
from instar_controller.engines.pinging import Pinging
from instar_controller.engines.tally import Snapshot

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RegistrationSettings:
    """Times in seconds."""

    gather_s: float = 5.0  # after the first node was heard, for the others
    look_s: float = 1.0  # between two looks at whether any node is alive


class Registration:
    """One dispatcher's; also an operator's switch. `start` it after the dispatcher, `close` it before that.

    `pinging` makes the pings of an invoker with so many MB.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        pinging: Callable[[int], Pinging],
        settings: RegistrationSettings | None = None,
    ) -> None:
        self._dispatcher = dispatcher
        self._make = pinging
        self._settings = settings or RegistrationSettings()
        self._is_wanted = True  # by the operator
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="instar-registration", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_enabled(self) -> bool:
        """Whether the operator lets it take work."""
        return self._is_wanted

    def enable(self) -> None:
        """Take work, if there is a node."""
        self._is_wanted = True

    def disable(self) -> None:
        """Take no more work, within `look_s`."""
        self._is_wanted = False

    def close(self) -> None:
        """Say that we go, if it was said that we are there."""
        self._is_over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _run(self) -> None:
        nodes = self._gathered()
        if nodes is None:
            return
        logger.info("the nodes that are alive: %s, with %s MB", nodes.nodes_alive, nodes.memory_mb)
        pinging = self._make(nodes.memory_mb)
        pinging.start()
        while not self._is_over.wait(self._settings.look_s):
            alive = self._dispatcher.snapshot().nodes_alive
            if self._is_wanted and alive and not pinging.is_enabled:
                logger.info("controllers may send work: %s nodes are alive", alive)
                pinging.enable()
            elif not (self._is_wanted and alive) and pinging.is_enabled:
                logger.warning("controllers may send no work: %s nodes are alive", alive)
                pinging.disable()
        pinging.close()

    def _gathered(self) -> Snapshot | None:
        """The nodes, once some are alive and were for a moment: those that were heard may have gone since, or be
        silent just now, and no memory at all would be told for good. None if it is over before."""
        while True:
            while self._dispatcher.snapshot().nodes_alive == 0:
                if self._is_over.wait(self._settings.look_s):
                    return None
            if self._is_over.wait(self._settings.gather_s):
                return None
            nodes = self._dispatcher.snapshot()
            if nodes.nodes_alive:
                return nodes
