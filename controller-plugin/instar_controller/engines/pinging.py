"""Says once a second that this invoker is there.

One rule: a controller that hears nothing for ten seconds, or that we are not enabled, sends no work; so a ping says
at once what has changed, and the last one, at the end, that there will be no more. A ping that does not arrive is not
sent again: the next one says the same.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future

from instar_controller.cluster_ports import Bus
from instar_controller.whisk.instances import InvokerInstance
from instar_controller.whisk.pings import PingMessage

logger = logging.getLogger(__name__)

LAST_PING_S = 2.0  # for the one that says that we go


class Pinging:
    """The pings of one invoker. `start` it, `close` it once; both may be enabled and disabled in between."""

    def __init__(self, bus: Bus, topic: str, instance: InvokerInstance, *, interval_s: float = 1.0) -> None:
        self._bus = bus
        self._topic = topic
        self._instance = instance
        self._interval_s = interval_s
        self._changed = threading.Condition()  # guards what follows
        self._is_enabled = True
        self._says = False  # what the last ping said
        self._is_closing = False
        self._last: Future[None] | None = None
        self.lost = 0
        self._thread = threading.Thread(target=self._run, name="instar-pinging", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_enabled(self) -> bool:
        return self._is_enabled

    def enable(self) -> None:
        """Take work again."""
        self._turn(to=True)

    def disable(self) -> None:
        """Take no more work, and go on with what is there."""
        self._turn(to=False)

    def close(self) -> None:
        """Say that we go, and no more."""
        with self._changed:
            self._is_enabled = False
            self._is_closing = True
            self._changed.notify_all()
        self._thread.join()
        last = self._last
        if last is not None:
            heard = threading.Event()
            last.add_done_callback(lambda _: heard.set())
            heard.wait(LAST_PING_S)

    def _turn(self, *, to: bool) -> None:
        with self._changed:
            self._is_enabled = to and not self._is_closing
            self._changed.notify_all()

    def _run(self) -> None:
        while True:
            with self._changed:
                says, is_last = self._is_enabled, self._is_closing
                is_news, self._says = says != self._says, says
            if is_news or self._last is None or self._last.done():  # a bus that does not answer gets no heap of pings
                self._last = self._bus.send(self._topic, PingMessage(self._instance, says).encode())
                self._last.add_done_callback(self._heard)
            if is_last:
                return
            with self._changed:
                self._changed.wait_for(lambda: self._is_closing or self._is_enabled != self._says, self._interval_s)

    def _heard(self, future: Future[None]) -> None:
        error = future.exception()
        if error is not None:
            self.lost += 1
            logger.warning("a ping is lost: %s", error)
