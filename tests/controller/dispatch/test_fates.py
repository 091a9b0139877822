"""What becomes of a dead node's work: completed once, and never run twice if its action does not allow that."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instar_controller.policies import settlement
from instar_controller.policies.settlement import Case, Evidence, Fate
from instar_controller.whisk.activation import ActivationId

# Other work on the machine is not what is tried here.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ID = ActivationId("0" * 32)
cases = st.builds(
    Case, id=st.just(ID), offset=st.integers(0, 5), attempt=st.integers(1, 3), may_run_twice=st.booleans()
)
evidences = st.builds(
    Evidence,
    taken_over=st.integers(0, 5),
    latest_attempt=st.integers(1, 3),
    has_result=st.booleans(),
    has_completion=st.booleans(),
)


@unhurried
@given(case=cases, evidence=evidences)
def test_what_is_completed_or_anothers_is_left_alone(case: Case, evidence: Evidence) -> None:
    left_alone = settlement.fate(case, evidence) is Fate.NOTHING
    assert left_alone == (evidence.has_completion or evidence.latest_attempt > case.attempt)


@unhurried
@given(case=cases, evidence=evidences)
def test_what_may_have_run_runs_again_only_if_its_action_allows_that(case: Case, evidence: Evidence) -> None:
    if settlement.fate(case, evidence) is Fate.DISPATCH:
        assert case.may_run_twice or case.offset >= evidence.taken_over


@unhurried
@given(case=cases, evidence=evidences)
def test_a_result_that_was_delivered_is_never_followed_by_another(case: Case, evidence: Evidence) -> None:
    if evidence.has_result:
        assert settlement.fate(case, evidence) in (Fate.NOTHING, Fate.COMPLETE)


@pytest.mark.parametrize(
    ("offset", "may_run_twice", "expected"),
    [(4, False, Fate.FAIL), (4, True, Fate.DISPATCH), (5, False, Fate.DISPATCH), (6, True, Fate.DISPATCH)],
)
def test_it_is_the_taking_over_that_counts(offset: int, may_run_twice: bool, expected: Fate) -> None:
    case = Case(ID, offset, 1, may_run_twice)
    assert settlement.fate(case, Evidence(5, 1, has_result=False, has_completion=False)) is expected
