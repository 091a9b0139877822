"""What goes when a store is full: what nobody fetches, then what nobody has asked for longest, never the rest."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar.errors import SourceError
from instar.weights import budget
from instar.weights.budget import Entry, Standing

MIB = 2**20
MAY_GO = (Standing.DAMAGED, Standing.STALE, Standing.IDLE)
entries = st.lists(
    st.builds(
        Entry, st.uuids().map(str), st.integers(0, 100), st.integers(0, 9).map(float), st.sampled_from(Standing)
    ),
    max_size=12,
)


def entry(name: str, mib: int, used_s: float = 0.0, standing: Standing = Standing.IDLE) -> Entry:
    return Entry(name, mib * MIB, used_s, standing)


def names(going: tuple[Entry, ...]) -> str:
    return "".join(one.digest for one in going)


def test_nothing_goes_while_there_is_room() -> None:
    assert budget.to_fit([entry("a", 5), entry("b", 5)], 10 * MIB, 20 * MIB) == ()


def test_the_least_recently_asked_for_goes_first() -> None:
    there = [entry("a", 5, 3.0), entry("b", 5, 1.0), entry("c", 5, 2.0)]
    assert names(budget.to_fit(there, 10 * MIB, 15 * MIB)) == "bc"


def test_what_is_damaged_or_nobody_fetches_any_more_goes_before_whole_files() -> None:
    there = [entry("a", 5, 1.0), entry("b", 5, 2.0, Standing.STALE), entry("c", 5, 3.0, Standing.DAMAGED)]
    assert names(budget.to_fit(there, 1 * MIB, 15 * MIB)) == "c"
    assert names(budget.to_fit(there, 8 * MIB, 15 * MIB)) == "cb"


def test_an_error_says_what_is_there_and_the_way_out() -> None:
    there = [entry("a", 5, standing=Standing.PINNED), entry("b", 3, standing=Standing.IN_USE), entry("c", 1)]
    with pytest.raises(SourceError, match=r"6\.0 MiB .* of 12\.0 MiB, 5\.0 MiB pinned, 3\.0 MiB in use; unpin"):
        budget.to_fit(there, 6 * MIB, 12 * MIB)


def test_weights_larger_than_the_whole_store_are_refused_at_once() -> None:
    with pytest.raises(SourceError, match=r"20\.0 MiB do not fit into a store of 10\.0 MiB; set INSTAR_STORE_MIB"):
        budget.to_fit([], 20 * MIB, 10 * MIB)


@settings(deadline=None)
@given(entries, st.integers(0, 500))
def test_only_what_may_go_goes_and_no_more_than_needed(there: list[Entry], limit: int) -> None:
    """What goes may go; without its last file it would not do; what stays of its kind was asked for later."""
    going = budget.down_to(there, limit)
    assert all(one.standing in MAY_GO for one in going)
    left = sum(one.nbytes for one in there) - sum(one.nbytes for one in going)
    if going:
        assert left + going[-1].nbytes > limit
    stays = [one for one in there if one not in going]
    for kind in MAY_GO:
        newest = max((one.used_s for one in going if one.standing is kind), default=0.0)
        assert all(one.used_s >= newest for one in stays if one.standing is kind)
    if left > limit:
        assert not any(one.standing in MAY_GO for one in stays)


@settings(deadline=None)
@given(entries, st.integers(0, 500), st.integers(0, 500))
def test_what_fits_afterwards_fits(there: list[Entry], needed: int, size: int) -> None:
    """Either there is room afterwards, or an error says why not."""
    try:
        going = budget.to_fit(there, needed, size)
    except SourceError:
        fixed = sum(one.nbytes for one in there if one.standing not in MAY_GO)
        assert fixed + needed > size
    else:
        assert sum(one.nbytes for one in there if one not in going) + needed <= size
