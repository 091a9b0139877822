"""Which container gets the job where it is known how long each way takes."""

from __future__ import annotations

import pytest
from worlds import container, function, job, offer

from instar_controller.policies import pool
from instar_controller.policies.estimates import Estimates, PlanOffer, Way
from instar_controller.policies.lifecycle import State
from instar_controller.policies.snapshot import Container

A, B = function("a"), function("b")
PLAN = offer({"from": "a"})
WARM = container(function(), id="warm")
CELL = container(state=State.PREWARMED, id="cell")
DONOR = container(A, id="donor")
OTHER = container(B, id="other")
KNOWN = Estimates(warm_ms=20, prewarmed_ms=200, cold_ms=1500, reload_ms=90, plans={A: Way(PLAN, 30)})


def decide(
    estimates: Estimates, *containers: Container, budget_mb: int = 4096, starts_at_once: int = 2
) -> pool.Decision:
    return pool.decide(
        job(),
        containers,
        budget_mb=budget_mb,
        starts_at_once=starts_at_once,
        donors=[c for c in containers if c.is_idle and c.key != function()],
        estimates=estimates,
    )


def transform(donor: Container, plan: PlanOffer | None, ms: float) -> pool.Transform:
    assert donor.key is not None
    return pool.Transform(donor.id, donor.key, plan, ms)


def test_where_nothing_is_known_a_donor_is_left_alone() -> None:
    assert decide(Estimates(), DONOR) == pool.StartCold()
    assert decide(Estimates(), DONOR, CELL) == pool.TakePrewarmed(CELL.id)
    assert decide(Estimates(), DONOR, CELL, WARM) == pool.UseWarm(WARM.id)


def test_warm_beats_donor_beats_prewarmed_beats_cold_where_their_times_do() -> None:
    assert decide(KNOWN, DONOR, CELL, WARM) == pool.UseWarm(WARM.id)
    assert decide(KNOWN, DONOR, CELL) == transform(DONOR, PLAN, 30)
    assert decide(KNOWN, CELL) == pool.TakePrewarmed(CELL.id)
    assert decide(KNOWN) == pool.StartCold()


def test_time_counts_and_not_rank() -> None:
    slow = Estimates(warm_ms=20, prewarmed_ms=200, cold_ms=1500, plans={A: Way(PLAN, 300)})
    assert decide(slow, DONOR, CELL) == pool.TakePrewarmed(CELL.id)
    slow_to_wake = Estimates(warm_ms=20, wake_ms=50, plans={A: Way(PLAN, 30)})
    asleep = container(function(), state=State.PAUSED, id="asleep")
    assert decide(slow_to_wake, asleep, DONOR) == transform(DONOR, PLAN, 30)


def test_at_equal_times_nobody_loses_a_container() -> None:
    equal = Estimates(warm_ms=30, prewarmed_ms=30, cold_ms=30, plans={A: Way(PLAN, 30)})
    assert decide(equal, DONOR, CELL, WARM) == pool.UseWarm(WARM.id)
    assert decide(equal, DONOR, CELL) == pool.TakePrewarmed(CELL.id)
    assert decide(equal, DONOR) == pool.StartCold()


@pytest.mark.parametrize(
    "estimates",
    [Estimates(plans={A: Way(PLAN, 30)}), Estimates(warm_ms=20, prewarmed_ms=200, plans={A: Way(PLAN, 30)})],
    ids=["nothing else", "not of a cold start"],
)
def test_a_donor_is_not_taken_against_what_nobody_knows(estimates: Estimates) -> None:
    assert decide(estimates, DONOR) == pool.StartCold()


def test_a_donor_without_a_plan_lets_go_and_loads() -> None:
    assert decide(KNOWN, OTHER) == transform(OTHER, None, 90)
    assert decide(Estimates(cold_ms=1500), OTHER) == pool.StartCold()


def test_where_a_plan_is_offered_nobody_loads_instead() -> None:
    """The planner offers none that is slower; what was measured of the two may be of another day."""
    dear = Estimates(cold_ms=1500, reload_ms=90, plans={A: Way(PLAN, 91)})
    assert decide(dear, DONOR) == transform(DONOR, PLAN, 91)
    assert decide(dear, DONOR, OTHER) == transform(OTHER, None, 90)


def test_of_two_donors_the_sooner_is_taken_and_of_equal_ones_the_first() -> None:
    assert decide(KNOWN, OTHER, DONOR) == transform(DONOR, PLAN, 30)
    twin = container(A, id="twin")
    assert decide(KNOWN, twin, DONOR) == transform(twin, PLAN, 30)


def test_waking_a_donor_counts() -> None:
    estimates = Estimates(prewarmed_ms=35, plans={A: Way(PLAN, 30)}, wake_ms=8)
    asleep = container(A, state=State.PAUSED, id="asleep")
    assert decide(estimates, asleep, CELL) == pool.TakePrewarmed(CELL.id)
    assert decide(estimates, asleep, DONOR, CELL) == transform(DONOR, PLAN, 30)


def test_a_container_that_finishes_its_log_is_waited_for_if_that_is_sooner() -> None:
    finishing = container(function(), state=State.COLLECTING, id="finishing")
    assert decide(KNOWN, finishing, DONOR) == pool.Wait()


def test_a_donor_is_transformed_rather_than_evicted_for_its_memory() -> None:
    assert decide(KNOWN, DONOR, budget_mb=256) == transform(DONOR, PLAN, 30)
    assert decide(Estimates(), DONOR, budget_mb=256) == pool.Evict((DONOR.id,))


def test_a_donor_is_taken_where_a_cold_start_would_wait_for_its_turn_to_boot() -> None:
    booting = container(B, state=State.STARTING, id="booting")
    assert decide(KNOWN, booting, DONOR, starts_at_once=1) == transform(DONOR, PLAN, 30)


def test_a_job_larger_than_the_budget_is_refused_whatever_is_known() -> None:
    assert decide(KNOWN, DONOR, budget_mb=255) == pool.Refuse()
