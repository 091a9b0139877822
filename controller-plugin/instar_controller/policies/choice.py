"""Which of several ways is taken: the one that is estimated to answer first.

One rule: offers come in the order in which they are taken when nothing is known, and a later one passes an earlier
one only if both are estimated and it is strictly sooner. So without estimates the first is taken, ties go to the
earlier, and nothing is given up for a figure that nobody has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Offer(Generic[T]):
    """A way that could be taken, and the milliseconds until its answer; None if they are not known."""

    what: T
    ms: float | None


def soonest(offers: Sequence[Offer[T]]) -> T:
    """What is taken of at least one offer."""
    best, *others = offers
    for offer in others:
        if best.ms is not None and offer.ms is not None and offer.ms < best.ms:
            best = offer
    return best.what
