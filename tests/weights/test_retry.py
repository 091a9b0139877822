"""How long is waited between tries, and for how many."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar.weights.retry import Patience, delay_s

PATIENCE = Patience()


def test_the_promised_defaults() -> None:
    assert Patience(first_s=0.1, longest_s=5.0, failures=5, deadline_s=600.0) == PATIENCE


def test_pauses_double_up_to_the_longest() -> None:
    patience = Patience(failures=100)
    pauses = [delay_s(n, 0.0, patience, draw=0.999999) for n in range(1, 9)]
    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0], rel=1e-3)


def test_the_dice_take_away_half_at_most() -> None:
    assert delay_s(1, 0.0, PATIENCE, draw=0.0) == pytest.approx(0.05)


def test_a_source_that_gives_nothing_is_given_up_after_five_tries() -> None:
    assert delay_s(4, 0.0, PATIENCE, draw=0.5) is not None
    assert delay_s(5, 0.0, PATIENCE, draw=0.5) is None


def test_a_source_that_says_when_is_not_asked_before() -> None:
    assert delay_s(1, 0.0, PATIENCE, retry_after_s=30.0, draw=0.5) == 30.0
    assert delay_s(4, 0.0, PATIENCE, retry_after_s=0.0, draw=1.0) == pytest.approx(0.8)


def test_nothing_is_waited_for_beyond_the_deadline() -> None:
    assert delay_s(1, 599.0, PATIENCE, retry_after_s=2.0, draw=0.5) is None
    assert delay_s(1, 600.0, PATIENCE, draw=0.5) is None


@settings(deadline=None)
@given(
    failures=st.integers(1, 10**6),
    elapsed_s=st.floats(0, 1e6),
    draw=st.floats(0, 1, exclude_max=True),
    retry_after_s=st.none() | st.floats(0, 1e6),
)
def test_every_pause_is_positive_and_ends_before_the_deadline(
    failures: int, elapsed_s: float, draw: float, retry_after_s: float | None
) -> None:
    patience = Patience(failures=10**6)
    delay = delay_s(failures, elapsed_s, patience, retry_after_s=retry_after_s, draw=draw)
    if delay is not None:
        assert delay > 0 and elapsed_s + delay < patience.deadline_s
        assert retry_after_s is None or delay >= retry_after_s
