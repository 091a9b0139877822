"""What the log lines of a thread are about: an activation, and the transaction that caused it.

One rule: whoever begins to work on an activation says so once (`about`), and every line that is logged meanwhile has
both. Lines of others that name an activation, such as those of the thread that writes records, find its transaction
here too, as long as it is one of the last `REMEMBERED` that were worked on.

The context of a thread does not go over to threads that it starts: run those in `contextvars.copy_context()`.
"""

from __future__ import annotations

import contextlib
import contextvars
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Subject:
    """An activation, and the id of its transaction."""

    activation: str
    transaction: str


_current: contextvars.ContextVar[Subject | None] = contextvars.ContextVar("instar_subject", default=None)
_lock = threading.Lock()
_transactions: OrderedDict[str, str] = OrderedDict()  # of the activations that were worked on last, by their ids


@contextlib.contextmanager
def about(activation: str, transaction: str) -> Iterator[None]:
    """Whatever is logged in this context meanwhile is about this activation."""
    with _lock:
        _transactions[activation] = transaction
        _transactions.move_to_end(activation)
        while len(_transactions) > REMEMBERED:
            _transactions.popitem(last=False)
    token = _current.set(Subject(activation, transaction))
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Subject | None:
    """What is being worked on."""
    return _current.get()


def transaction_of(activation: str) -> str | None:
    """The transaction of an activation that was worked on not long ago."""
    with _lock:
        return _transactions.get(activation)
