"""What is owed: for every invocation that was taken on an answer, and then the news that it is finished.

One rule: each is given exactly once and in this order, whoever comes first and however many try; what is finished
without an answer is answered first. Who pays, and with what, is the engine's business. To whom can change meanwhile:
who joins gets all of it, and who was to get it before is told that he does not.
"""

from __future__ import annotations

import logging
import threading
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Protocol

from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.invocation import Invocation

logger = logging.getLogger(__name__)


class Hearer(Protocol):
    """Who is told of one invocation, by a thread of the engine that has other things to do: it must not wait."""

    def answered(self, activation: Activation) -> None:
        """The function has answered, or never will. The record is without its log."""

    def finished(self, activation: Activation) -> bool:
        """Nothing more will come: the record as it is to be kept. False if it is not ours to keep."""

    def relieved(self) -> None:
        """Somebody else is told from now on, and of all of it: nothing more will come."""


class Nobody:
    """For a caller to whom the future is enough."""

    def answered(self, activation: Activation) -> None:
        pass

    def finished(self, activation: Activation) -> bool:
        return True

    def relieved(self) -> None:
        pass


NOBODY = Nobody()


@dataclass(slots=True, eq=False)
class _Debt:
    """`paying` is held while somebody is told, so that nobody hears of the end before the answer."""

    invocation: Invocation
    future: Future[Activation]
    hearer: Hearer
    paying: threading.Lock = field(default_factory=threading.Lock)
    answer: Activation | None = None
    is_finished: bool = False


class Debts:
    """The open invocations. Safe for several threads."""

    def __init__(self) -> None:
        self._paid = threading.Condition()  # guards what follows
        self._open: dict[ActivationId, _Debt] = {}
        self._telling = 0  # debts that are nobody's any more, of whose end somebody is still being told

    def owe(self, invocation: Invocation, hearer: Hearer = NOBODY) -> Future[Activation]:
        """From here on this invocation is owed its answer, which the future gets too, and its end. Nobody can cancel
        it.
        """
        future: Future[Activation] = Future()
        future.set_running_or_notify_cancel()
        with self._paid:
            assert invocation.activation_id not in self._open, "activation ids are unique"
            self._open[invocation.activation_id] = _Debt(invocation, future, hearer)
        return future

    def join(self, id: ActivationId, hearer: Hearer) -> bool:
        """Have this one told, also of the answer that was given already, in the place of who was told so far. False
        if nothing is owed any more for this invocation, and it may be owed anew.
        """
        debt = self._find(id)
        if debt is None:
            return False
        with debt.paying:
            if debt.is_finished:
                return False
            before, debt.hearer = debt.hearer, hearer
            try:
                before.relieved()
            except Exception:  # a mistake of who is told: who comes is owed it all the same
                logger.exception("that activation %s is another's was not heard", id)
            if debt.answer is not None:
                _tell_answer(debt, debt.answer)
            return True

    def get(self, id: ActivationId) -> Invocation | None:
        """The invocation, if it is still owed anything."""
        debt = self._find(id)
        return None if debt is None else debt.invocation

    def answer_of(self, id: ActivationId) -> Activation | None:
        """What an invocation was answered that is not finished yet."""
        debt = self._find(id)
        return None if debt is None else debt.answer

    def answer(self, activation: Activation) -> bool:
        """Give an invocation its answer. False if it has one already: then this changes nothing."""
        debt = self._find(activation.activation_id)
        if debt is None:
            return False
        with debt.paying:
            return _answer(debt, activation)

    def finish(self, activation: Activation) -> bool:
        """Tell that an invocation is finished, and answer it if nobody has; whether its record is to be kept. False
        if that was told already: then this changes nothing.
        """
        debt = self._find(activation.activation_id)
        if debt is None:
            return False
        with debt.paying:
            if debt.is_finished:
                return False
            debt.is_finished = True
            with self._paid:
                del self._open[activation.activation_id]
                self._telling += 1
            _answer(debt, activation)
            is_ours = True
            try:
                is_ours = debt.hearer.finished(activation)
            except Exception:  # a mistake of who is told: the record is owed all the same
                logger.exception("the end of activation %s was not heard", activation.activation_id)
        with self._paid:
            self._telling -= 1
            self._paid.notify_all()
        return is_ours

    def wait_until_paid(self, timeout_s: float) -> bool:
        """Whether nothing is owed any more, at the latest after so many seconds."""
        with self._paid:
            return self._paid.wait_for(lambda: not self._open and not self._telling, timeout_s)

    def _find(self, id: ActivationId) -> _Debt | None:
        with self._paid:
            return self._open.get(id)

    def __len__(self) -> int:
        with self._paid:
            return len(self._open) + self._telling

    def __repr__(self) -> str:
        return f"<Debts: {len(self)} open>"


def _answer(debt: _Debt, activation: Activation) -> bool:
    if debt.answer is not None:
        return False
    debt.answer = activation
    _tell_answer(debt, activation)
    debt.future.set_result(activation)
    return True


def _tell_answer(debt: _Debt, activation: Activation) -> None:
    try:
        debt.hearer.answered(activation)
    except Exception:  # a mistake of who is told: the future and the end are owed all the same
        logger.exception("the answer of activation %s was not heard", activation.activation_id)
