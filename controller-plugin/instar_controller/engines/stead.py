"""What a dispatcher answers in the stead of nodes: what none of them got, and what the lost ones owe.

One rule: nobody is answered before it is noted where the next run has to look for that answer.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable

from instar_controller.engines import refusals
from instar_controller.engines.board import Board, Order
from instar_controller.engines.committing import Committing
from instar_controller.engines.refusals import Refusals
from instar_controller.engines.settling import Owed
from instar_controller.engines.tally import Counters
from instar_controller.policies.settlement import Fate
from instar_controller.whisk.activation_message import ActivationMessage


class Stead:
    """One dispatcher's. `changed` guards the others that are given here, and is told when there is news."""

    def __init__(
        self,
        refusals: Refusals,
        board: Board,
        committing: Committing,
        counters: Counters,
        changed: threading.Condition,
    ) -> None:
        self._refusals = refusals
        self._board = board
        self._committing = committing
        self._counters = counters
        self._changed = changed
        self._refused: list[tuple[Order, str]] = []

    def refuse(self, order: Order, why: str) -> None:
        """With the lock held: no node gets it. It is answered once that may be."""
        self._refused.append((order, why))

    def answer(self) -> None:
        """Answer those that may be answered by now."""
        with self._changed:
            ready: list[tuple[Order, str]] = []
            refused, self._refused = self._refused, []
            for order, why in refused:
                is_known = self._committing.knows(order.message.controller.name, order.place)
                (ready if is_known else self._refused).append((order, why))
        for order, why in ready:
            self._fail(order.message, why, functools.partial(self._answered, order))

    def pay(self, owed: Owed) -> None:
        """Answer what a life that is over owes; what is sent to a node is in the note already."""

        def paid() -> None:
            with self._changed:
                self._board.discharge(owed.life, owed.message.activation_id)
                self._changed.notify_all()

        if owed.fate is Fate.FAIL:
            self._fail(owed.message, refusals.NODE_LOST, paid)
            return
        with self._changed:
            self._counters.completed += 1
        self._refusals.complete(owed.message, paid)

    def _fail(self, message: ActivationMessage, why: str, paid: Callable[[], None]) -> None:
        with self._changed:
            self._counters.failed += 1
        self._refusals.fail(message, why, paid)

    def _answered(self, order: Order) -> None:
        with self._changed:
            self._committing.settle(order)
            self._changed.notify_all()
