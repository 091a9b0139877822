"""Gives what waits to nodes, and hears from the bus whether it has arrived.

One rule: where the bus cannot say whether a node's topic has an activation, that is doubtful, and it goes to nobody
else before it is clear (`Settling`).
"""

from __future__ import annotations

import functools
import logging
import threading
from concurrent.futures import Future

from instar_controller.cluster_ports import Bus
from instar_controller.engines import envelopes, refusals
from instar_controller.engines.board import Board, Life, Order
from instar_controller.engines.committing import Committing
from instar_controller.engines.settling import Settling
from instar_controller.engines.stead import Stead
from instar_controller.engines.tally import Counters
from instar_controller.engines.topics import Topics
from instar_controller.errors import MessageTooLargeError
from instar_controller.whisk.instances import InvokerInstance

logger = logging.getLogger(__name__)


class Sending:
    """One dispatcher's. `changed` guards the others that are given here, and is told when there is news."""

    def __init__(
        self,
        bus: Bus,
        topics: Topics,
        instance: InvokerInstance,
        board: Board,
        committing: Committing,
        settling: Settling,
        stead: Stead,
        counters: Counters,
        changed: threading.Condition,
    ) -> None:
        self._bus = bus
        self._topics = topics
        self._instance = instance
        self._board = board
        self._committing = committing
        self._settling = settling
        self._stead = stead
        self._counters = counters
        self._changed = changed
        self._is_over = False

    def send(self, now_s: float) -> None:
        """Send all that has a place now; wait for nothing."""
        with self._changed:
            if self._is_over:
                return
            found = self._board.assign(now_s)
            for _, order in found:
                self._counters.sent += 1
                if order.attempt > 1:
                    self._counters.sent_again += 1
                    self._settling.attempts[order.id] = order.attempt
        for life, order in found:
            envelope = envelopes.seal(
                order.value,
                instance=self._instance,
                incarnation=life.member.incarnation,
                attempt=order.attempt,
                acks_from=order.acks_from,
                memory_mb=order.need.memory_mb,
                place=None if order.place is None else (order.place.partition, order.place.offset),
            )
            sent = self._bus.send(self._topics.node(life.member.name), envelope)
            sent.add_done_callback(functools.partial(self._sent, life, order))

    def stop(self) -> None:
        """Send no more."""
        with self._changed:
            self._is_over = True

    def close(self, timeout_s: float) -> None:
        """Send no more, and wait until the bus has said what became of the rest, but not for longer than this."""
        self.stop()
        with self._changed:
            self._changed.wait_for(lambda: not any(life.sending for life in self._board.lives.values()), timeout_s)

    def _sent(self, life: Life, order: Order, sent: Future[None]) -> None:
        error = sent.exception()
        with self._changed:
            life.sending -= 1
            if error is None or (order.id not in life.open and not life.is_over):  # it was even finished meanwhile
                self._committing.settle(order)
            elif isinstance(error, MessageTooLargeError):
                life.remove(order.id)
                self._stead.refuse(order, refusals.TOO_LARGE)
            else:
                logger.warning("nobody knows whether node %s has activation %s: %s", life.member, order.id, error)
                self._counters.doubtful += 1
                life.doubtful[order.id] = order
            self._changed.notify_all()
