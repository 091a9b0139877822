"""Gives an invoker that has only a name its number, and nobody else the same one.

One rule: a number is decided from all that is kept, and written only if that has not changed meanwhile; otherwise it
is decided anew. So of two that start at the same moment the second sees the first.
"""

from __future__ import annotations

import logging
from typing import Protocol

from instar_controller.errors import StoreError
from instar_controller.policies import numbering
from instar_controller.policies.numbering import Entry, Known, Roll

logger = logging.getLogger(__name__)

TRIES = 20
ENTRY_S = 2.0  # that a stock invoker may take from counting itself to entering its name: two of its requests


class Numbers(Protocol):
    """Where the numbers of all invokers are kept. Every method may raise `StoreError`."""

    def read(self) -> Roll:
        """What is kept now."""

    def wait_for_names(self, timeout_s: float) -> None:
        """Return when a name was added or removed since the last `read`, or time is up."""

    def write(self, entry: Entry) -> bool:
        """Do all of it, unless something has changed since the last `read`: then nothing, and False."""


def assign(name: str, numbers: Numbers, *, overwrite: int | None = None) -> int:
    """The number of this name; it gets one if it has none, and this one if there is an `overwrite`.

    Raises `SettingsError` if people have to see to it first, `StoreError` if asking again may help.
    """
    for attempt in range(TRIES):
        roll = numbers.read()
        match numbering.decide(name, roll) if overwrite is None else numbering.overwrite(name, overwrite, roll):
            case Known(number):
                logger.info("the invoker '%s' has the number %d", name, number)
                return number
            case Entry() if roll.is_behind and attempt == 0:
                numbers.wait_for_names(ENTRY_S)
            case Entry() as entry:
                if numbers.write(entry):
                    _tell(entry)
                    return entry.number
    raise StoreError(f"the numbers of invokers were changed by others {TRIES} times while '{name}' asked for one")


def _tell(entry: Entry) -> None:
    logger.info("the invoker '%s' gets the number %d", entry.name, entry.number)
    for loser in entry.losers:
        logger.warning("the invoker '%s' has lost the number %d, and gets another one", loser, entry.number)
