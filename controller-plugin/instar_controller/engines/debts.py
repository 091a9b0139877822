"""What is owed: one completion for every invocation that was taken on.

One rule: a debt is taken out of the book before it is paid, so it is paid once, whoever comes first and
however many try. Who pays, and with what, is the engine's business.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from dataclasses import dataclass

from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.invocation import Invocation


@dataclass(frozen=True, slots=True)
class _Debt:
    invocation: Invocation
    future: Future[Activation]


class Debts:
    """The open invocations. Safe for several threads."""

    def __init__(self) -> None:
        self._open: dict[ActivationId, _Debt] = {}
        self._paid = threading.Condition()

    def owe(self, invocation: Invocation) -> Future[Activation]:
        """From here on this invocation is owed its completion, which the future gets. Nobody can cancel
        it."""
        future: Future[Activation] = Future()
        future.set_running_or_notify_cancel()
        with self._paid:
            assert invocation.activation_id not in self._open, "activation ids are unique"
            self._open[invocation.activation_id] = _Debt(invocation, future)
        return future

    def get(self, id: ActivationId) -> Invocation | None:
        """The invocation, if it is still owed anything."""
        with self._paid:
            debt = self._open.get(id)
        return None if debt is None else debt.invocation

    def pay(self, activation: Activation) -> bool:
        """Complete an invocation. False if that has been done already: then this changes nothing."""
        with self._paid:
            debt = self._open.pop(activation.activation_id, None)
            self._paid.notify_all()
        if debt is None:
            return False
        debt.future.set_result(activation)
        return True

    def wait_until_paid(self, timeout_s: float) -> bool:
        """Whether nothing is owed any more, at the latest after so many seconds."""
        with self._paid:
            return self._paid.wait_for(lambda: not self._open, timeout_s)

    def __len__(self) -> int:
        return len(self._open)

    def __repr__(self) -> str:
        return f"<Debts: {len(self)} open>"
