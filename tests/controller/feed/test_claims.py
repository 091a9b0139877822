"""Who may take a claim, and when: a table, without a clock."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instar_controller.policies import claims
from instar_controller.policies.claims import Claim, Sight

# Other work on the machine is not what is tried here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

HELD = Claim("another", 10.0)


@pytest.mark.parametrize(
    ("sight", "now_s", "is_free"),
    [
        (None, 0.0, True),  # nobody ever held it
        (Sight(Claim(None, 0.0), "3-a", 5.0), 5.0, True),  # given back
        (Sight(HELD, "3-a", 5.0), 5.0, False),
        (Sight(HELD, "3-a", 5.0), 14.9, False),
        (Sight(HELD, "3-a", 5.0), 15.0, True),  # not renewed for its term
    ],
)
def test_a_claim_may_be_taken_that_nobody_holds_any_more(sight: Sight | None, now_s: float, is_free: bool) -> None:
    assert claims.is_free(sight, now_s=now_s) is is_free


def test_a_claim_that_is_renewed_is_counted_anew() -> None:
    first = claims.see(None, HELD, "1-a", now_s=0.0)
    assert claims.see(first, HELD, "1-a", now_s=9.0).since_s == 0.0
    renewed = claims.see(first, HELD, "2-b", now_s=9.0)
    assert renewed.since_s == 9.0
    assert not claims.is_free(renewed, now_s=18.9)


def test_who_waits_looks_again_before_the_term_ends_and_when_it_does() -> None:
    sight = Sight(HELD, "1-a", 0.0)
    assert claims.look_again_s(sight, now_s=0.0) == pytest.approx(10.0 / 3)
    assert claims.look_again_s(sight, now_s=9.0) == pytest.approx(1.0)
    assert claims.look_again_s(sight, now_s=11.0) == 0.0


@unhurried
@given(
    begun_s=st.floats(0, 1e6),
    written_after_s=st.floats(0, 100),
    seen_after_s=st.floats(0, 100),
    term_s=st.floats(0.1, 100),
    ahead_s=st.floats(-1e6, 1e6),
    waited_s=st.floats(0, 300),
)
def test_nobody_may_take_what_its_holder_believes_to_hold(
    begun_s: float, written_after_s: float, seen_after_s: float, term_s: float, ahead_s: float, waited_s: float
) -> None:
    """However far the two clocks are apart, and however long writing and reading take."""
    sight = claims.see(None, Claim("a", term_s), "1-a", now_s=begun_s + written_after_s + seen_after_s + ahead_s)
    now_s = begun_s + written_after_s + seen_after_s + waited_s
    slack_s = 1e-6  # of adding such numbers
    if claims.is_free(sight, now_s=now_s + ahead_s):
        assert not claims.is_held(renewed_s=begun_s, term_s=term_s, now_s=now_s + slack_s)
