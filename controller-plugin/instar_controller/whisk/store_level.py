"""Which activation records are stored: OpenWhisk's levels, and the one that holds for an activation.

One rule: it is decided in two steps. When an activation arrives, who asks and how says at which level it is stored;
when it has ended, its status says whether that level takes it. What is the platform's failure every level takes.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from instar_controller.whisk.response import Status


class StoreLevel(Enum):
    """Of which activations there is a record. The values are OpenWhisk's names; `NEVER` nobody can configure."""

    ALWAYS = "STORE_ALWAYS"
    FAILURES = "STORE_FAILURES"
    NOT_APPLICATION_ERRORS = "STORE_FAILURES_NOT_APPLICATION_ERRORS"  # failures but for those that functions report
    NEVER = ""

    def takes(self, status: Status) -> bool:
        """Whether an activation that ended so has a record."""
        return status in _TAKEN[self]


_TAKEN = {
    StoreLevel.ALWAYS: frozenset(Status),
    StoreLevel.FAILURES: frozenset(Status) - {Status.SUCCESS},
    StoreLevel.NOT_APPLICATION_ERRORS: frozenset({Status.DEVELOPER_ERROR, Status.WHISK_ERROR}),
    StoreLevel.NEVER: frozenset[Status](),
}


@dataclass(frozen=True, slots=True)
class StoreLevels:
    """What an operator has configured: `whisk.activation.store-…-result-level`."""

    blocking: StoreLevel = StoreLevel.ALWAYS
    non_blocking: StoreLevel = StoreLevel.ALWAYS

    def chosen(self, *, wants_records: bool, extra_logging: bool, blocking: bool) -> StoreLevel:
        """The level of one activation. A namespace that `wants_records` not, by its limit `storeActivations`, gets
        none, whatever is asked; a request with `extra_logging` gets its record whatever the configured level."""
        if not wants_records:
            return StoreLevel.NEVER
        if extra_logging:
            return StoreLevel.ALWAYS
        return self.blocking if blocking else self.non_blocking


def parse(text: str) -> StoreLevel:
    """The level of that name, in capitals or not, as OpenWhisk reads it. Raises `ValueError`."""
    known = {level.value: level for level in StoreLevel if level is not StoreLevel.NEVER}
    try:
        return known[text.upper()]
    except KeyError:
        raise ValueError(f"write one of {', '.join(repr(name) for name in known)}") from None
