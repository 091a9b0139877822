"""Which files of a store go when it is full. Pure: what there is in, what goes out.

The rule: what is pinned, mapped by somebody or on its way never goes. Of the rest, first what is damaged, then what
was begun and nobody fetches any more, then whole files, in each case the one that nobody has asked for longest.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum

from instar.errors import SourceError


class Standing(Enum):
    """Why a file stays, or that it need not."""

    DAMAGED = "damaged"  # found to be wrong
    STALE = "partial"  # begun, and nobody fetches it
    IDLE = "idle"
    PINNED = "pinned"
    IN_USE = "in use"
    ARRIVING = "arriving"


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of a store: the digest it is named by, the space it takes, when it was last asked for."""

    digest: str
    nbytes: int
    used_s: float
    standing: Standing


def to_fit(entries: Sequence[Entry], needed: int, budget: int) -> tuple[Entry, ...]:
    """What goes so that `needed` bytes more stay within `budget`. Raises `SourceError` if they cannot."""
    if needed > budget:
        raise SourceError(
            f"weights of {_mib(needed)} do not fit into a store of {_mib(budget)}; set INSTAR_STORE_MIB to more, or "
            "make room on its disk"
        )
    going = down_to(entries, budget - needed)
    left = sum(entry.nbytes for entry in entries) - sum(entry.nbytes for entry in going)
    if left + needed > budget:
        there = ", ".join(f"{_mib(nbytes)} {standing.value}" for standing, nbytes in _by_standing(entries) if nbytes)
        raise SourceError(
            f"weights of {_mib(needed)} do not fit into the store: of {_mib(budget)}, {there}; "
            "unpin a file (`instar store unpin`), end who uses one, or set INSTAR_STORE_MIB to more"
        )
    return going


def down_to(entries: Iterable[Entry], limit: int) -> tuple[Entry, ...]:
    """What goes so that at most `limit` bytes are left, as far as that is possible."""
    entries = list(entries)
    total = sum(entry.nbytes for entry in entries)
    going = []
    for entry in sorted((e for e in entries if e.standing in _MAY_GO), key=_in_order_of_leaving):
        if total <= limit:
            break
        going.append(entry)
        total -= entry.nbytes
    return tuple(going)


_MAY_GO = (Standing.DAMAGED, Standing.STALE, Standing.IDLE)
_STAYS = tuple(standing for standing in Standing if standing not in _MAY_GO)


def _in_order_of_leaving(entry: Entry) -> tuple[int, float, str]:
    return (_MAY_GO.index(entry.standing), entry.used_s, entry.digest)


def _by_standing(entries: Sequence[Entry]) -> list[tuple[Standing, int]]:
    return [(one, sum(entry.nbytes for entry in entries if entry.standing is one)) for one in _STAYS]


def _mib(nbytes: int) -> str:
    return f"{nbytes / 2**20:.1f} MiB"
