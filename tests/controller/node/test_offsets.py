"""What is committed says of every message on its own whether it was handed over for good."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instar_controller.clients.kafka.positions import NAME_BYTES
from instar_controller.policies import offsets
from instar_controller.policies.offsets import Kept, Place, Progress, Reservation

# Other work on the machine is not what is tried here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def read(progress: Progress, *at: int) -> Progress:
    for offset in at:
        progress, is_wanted = offsets.received(progress, offset)
        assert is_wanted
    return progress


def close(progress: Progress, *at: int) -> Progress:
    for offset in at:
        progress = offsets.closed(progress, Place(0, offset, progress.era))
    return progress


def after_a_crash(progress: Progress, upto: int) -> list[int]:
    """What is handed over again, of all messages up to there."""
    offset, note = offsets.committed(progress)
    again = offsets.resumed(offset, note)
    wanted = []
    for at in range(offset, upto):
        again, is_wanted = offsets.received(again, at)
        wanted += [at] if is_wanted else []
    return wanted


def test_what_was_handed_over_for_good_needs_no_note() -> None:
    progress = close(read(offsets.fresh(5), 5, 6, 7), 5, 6, 7)
    assert offsets.committed(progress) == (8, "")


def test_what_is_open_at_the_end_is_as_if_it_had_never_been_read() -> None:
    assert offsets.committed(close(read(offsets.fresh(5), 5, 6, 7), 5)) == (6, "")


def test_what_is_open_among_others_is_noted() -> None:
    progress = close(read(offsets.fresh(5), 5, 6, 7, 8), 5, 7)
    assert offsets.committed(progress) == (6, '{"handed":9,"open":[0,2]}')
    assert after_a_crash(progress, 10) == [6, 8, 9]


@unhurried
@given(st.lists(st.booleans(), min_size=1, max_size=40), st.integers(0, 1 << 40))
def test_after_a_crash_exactly_what_was_open_is_handed_over_again(is_open: list[bool], start: int) -> None:
    progress = read(offsets.fresh(start), *range(start, start + len(is_open)))
    progress = close(progress, *(start + at for at, stays in enumerate(is_open) if not stays))
    wanted = [start + at for at, stays in enumerate(is_open) if stays]
    end = start + len(is_open)
    assert after_a_crash(progress, end + 1) == [*wanted, end]


@unhurried
@given(st.sets(st.integers(0, 400), max_size=30), st.sets(st.integers(0, 400), max_size=30))
def test_a_second_crash_forgets_nothing_of_the_first(first: set[int], second: set[int]) -> None:
    """Invariant: whatever was open and has not been closed since is read again, however often we crash."""
    progress = close(read(offsets.fresh(0), *range(401)), *(set(range(401)) - first))
    again = offsets.resumed(*offsets.committed(progress))
    for at in range(again.next, 401):
        again, is_wanted = offsets.received(again, at)
        assert is_wanted is (at in first)
        if is_wanted and at in second:
            again = close(again, at)
    assert after_a_crash(again, 401) == sorted(first - second)


def test_the_longest_note_fits_beside_an_offset() -> None:
    start = 1 << 40
    progress = offsets.fresh(start)
    at = start
    while not progress.is_full:
        progress = read(progress, at)
        at += 20_000  # so far do two that are open lie apart while functions run for minutes
    progress = close(read(progress, at), at)
    reserved = Reservation(progress.handed + 64, "0123456789ab", 1 << 40)
    progress = replace(progress, doubted=progress.handed)
    assert len(offsets.committed(progress, reserved)[1].encode()) <= 4096 - NAME_BYTES


def test_a_topic_that_was_made_anew_is_read_from_its_beginning() -> None:
    progress = read(offsets.fresh(100), 100, 101)
    old = Place(0, 101, progress.era)
    progress, is_wanted = offsets.received(progress, 0)
    assert is_wanted
    assert offsets.committed(progress) == (0, "")
    progress = read(progress, *range(1, 102))
    assert offsets.closed(progress, old) == progress, "the one at this offset is another message now"


def test_what_the_bus_no_longer_keeps_is_given_up() -> None:
    progress = offsets.resumed(10, '{"handed":20,"open":[0,3,9]}')
    progress, is_wanted = offsets.received(progress, 13)
    assert is_wanted
    assert progress.open == {13, 19}


def test_a_reservation_says_what_is_handed_over_and_who_knows_more() -> None:
    progress = close(read(offsets.fresh(5), 5, 6, 7, 8), 5, 7)
    reserved = Reservation(73, "life", 12)
    offset, note = offsets.committed(progress, reserved)
    assert (offset, note) == (6, '{"handed":9,"open":[0,2],"reserved":73,"life":"life","serial":12}')
    assert offsets.reservation(note) == reserved
    assert offsets.resumed(offset, note) == offsets.resumed(*offsets.committed(progress))
    assert offsets.reservation(offsets.committed(progress)[1]) is None


def test_what_was_kept_last_counts_be_it_committed_or_not() -> None:
    before, after = close(read(offsets.fresh(0), 0, 1, 2), 0, 1), close(read(offsets.fresh(0), *range(5)), 0, 1, 2, 4)
    committed = offsets.committed(before, Reservation(67, "life", 5))
    newer, older = (offsets.taken_up(*committed, Kept(*offsets.committed(after), at), end=9) for at in (6, 4))
    assert newer == Progress(next=2, handed=5, open=frozenset({3}))
    assert older == Progress(next=2, handed=2)  # and message 2 as if it had never been handed over


def test_whatever_a_lost_slate_may_have_had_is_in_doubt() -> None:
    progress = close(read(offsets.fresh(0), *range(6)), 0, 1, 3, 5)
    offset, note = offsets.committed(progress, Reservation(70, "life", 5))
    assert offsets.taken_up(offset, note, None, end=20) == Progress(2, 6, frozenset({2, 4}), doubted=20)
    assert offsets.taken_up(offset, note, None, end=200).doubted == 70
    assert offsets.taken_up(*offsets.committed(progress), None, end=200).doubted == 0


def test_doubt_is_noted_until_nothing_is_in_doubt() -> None:
    progress = replace(offsets.fresh(3), doubted=5)
    assert offsets.committed(progress) == (3, '{"doubted":5}')
    assert offsets.resumed(3, '{"doubted":5}') == progress
    progress = close(read(progress, 3, 4, 5), 3, 5)
    assert offsets.committed(progress) == (4, '{"handed":6,"open":[0],"doubted":5}')
    assert offsets.committed(close(progress, 4)) == (6, "")


@pytest.mark.parametrize(
    "note",
    [
        "",
        "no JSON",
        "[]",
        "7",
        '{"doubted":"9"}',
        '{"doubted":-1}',
        '{"handed":"9","open":[]}',
        '{"handed":9}',
        '{"handed":9,"open":[-1]}',
        '{"open":[1]}',
    ],
)
def test_a_note_that_is_not_ours_says_nothing(note: str) -> None:
    assert offsets.resumed(7, note) == offsets.fresh(7)
