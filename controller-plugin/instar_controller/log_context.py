"""What the log lines of a thread are about: an activation, and the transaction that caused it.

One rule: whoever begins to work on an activation says so once (`about`), and every line that is logged meanwhile has
both. Lines of others that name an activation, such as those of the thread that writes records, find its transaction
here too, as long as it is one of the last `REMEMBERED` that were worked on.

The context of a thread does not go over to threads that it starts: run those in `contextvars.copy_context()`.
"""

from __future__ import annotations

import contextlib
import contextvars
import logging
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass

REMEMBERED = 10_000


@dataclass(frozen=True, slots=True)
class Subject:
    """An activation, the id of its transaction, and whether its request asked for extra logging."""

    activation: str
    transaction: str
    extra_logging: bool = False


_current: contextvars.ContextVar[Subject | None] = contextvars.ContextVar("instar_subject", default=None)
_lock = threading.Lock()
_transactions: OrderedDict[str, str] = OrderedDict()  # of the activations that were worked on last, by their ids


@contextlib.contextmanager
def about(activation: str, transaction: str, *, extra_logging: bool = False) -> Iterator[None]:
    """Whatever is logged in this context meanwhile is about this activation; with `extra_logging` details too."""
    with _lock:
        _transactions[activation] = transaction
        _transactions.move_to_end(activation)
        while len(_transactions) > REMEMBERED:
            _transactions.popitem(last=False)
    token = _current.set(Subject(activation, transaction, extra_logging))
    try:
        yield
    finally:
        _current.reset(token)


def current() -> Subject | None:
    """What is being worked on."""
    return _current.get()


def detail() -> int:
    """The level to log a detail at: of a request with `X-OW-EXTRA-LOGGING: on` they are told at info, as by stock
    invokers, and of others at debug."""
    subject = _current.get()
    return logging.INFO if subject is not None and subject.extra_logging else logging.DEBUG


def transaction_of(activation: str) -> str | None:
    """The transaction of an activation that was worked on not long ago."""
    with _lock:
        return _transactions.get(activation)
