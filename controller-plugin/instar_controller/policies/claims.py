"""Who may do work that only one is to do, and until when.

One rule: nobody's clock is compared with anybody else's. A claim is a note that its holder rewrites; who wants it
counts, by a clock of its own, how long the note has stayed as it is, and may take it when that is longer than the
term. The holder counts from before its last rewriting, so it knows that it has lost the claim no later than anybody
may take it.
"""

from __future__ import annotations

from dataclasses import dataclass

RENEWALS = 3  # a term: two of them may fail


@dataclass(frozen=True, slots=True)
class Claim:
    """What the note says: who holds it (None: nobody), and for how long after it was written."""

    holder: str | None
    term_s: float


@dataclass(frozen=True, slots=True)
class Sight:
    """A claim as somebody sees it who wants it: since when it has this revision, by that one's clock."""

    claim: Claim
    revision: str
    since_s: float


def see(last: Sight | None, claim: Claim, revision: str, *, now_s: float) -> Sight:
    """The claim was read. `last` is how it was seen before."""
    if last is not None and last.revision == revision:
        return last
    return Sight(claim, revision, now_s)


def is_free(sight: Sight | None, *, now_s: float) -> bool:
    """Whether the claim may be taken: there is none, it was given back, or its holder has not renewed it in time."""
    return sight is None or sight.claim.holder is None or now_s >= sight.since_s + sight.claim.term_s


def look_again_s(sight: Sight, *, now_s: float) -> float:
    """In how many seconds to look at somebody else's claim again: it may be given back any time."""
    return max(0.0, min(sight.claim.term_s / RENEWALS, sight.since_s + sight.claim.term_s - now_s))


def is_held(*, renewed_s: float, term_s: float, now_s: float) -> bool:
    """Whether its holder still holds it, who began to write it at `renewed_s` for the last time with success."""
    return now_s < renewed_s + term_s


def renew_in_s(*, renewed_s: float, term_s: float, now_s: float) -> float:
    """In how many seconds its holder is to write it again."""
    return max(0.0, renewed_s + term_s / RENEWALS - now_s)
