"""How the ways to a container are estimated from what was measured, and from what where that was not."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from worlds import container, function, job, offer

from instar_controller.policies import forecast, pool
from instar_controller.policies.estimates import Estimates, PlanOffer, Way
from instar_controller.policies.forecast import TRIES, Figure, FunctionFigures, KindFigures
from instar_controller.policies.lifecycle import State
from instar_controller.policies.observations import After
from instar_controller.whisk.invocation import ContainerKey

A = function("a")
PLAN = offer("a plan", transform_ms=2, load_ms=12)
ALL_RUNS = {After.RUN: 20, After.INIT: 50, After.PLAN: 25, After.LOAD: 45}
ALL_OF_KIND = KindFigures(
    boot_ms=1500,
    init_ms=100,
    wake_ms=8,
    sleep_ms=30,
    overhead_extra=Figure(-40, TRIES),
    reload_extra=Figure(-10, TRIES),
    runs_ms={After.RUN: 7},
)
NOBODY = FunctionFigures()


def estimates(
    of: FunctionFigures = NOBODY,
    kind: KindFigures = ALL_OF_KIND,
    offers: Mapping[ContainerKey, PlanOffer] | None = None,
) -> Estimates:
    return forecast.estimates(of, kind, {A: PLAN} if offers is None else offers)


def test_where_all_was_measured_estimates_are_sums_of_what_was_measured() -> None:
    known = FunctionFigures(60, Figure(15, TRIES), Figure(70, TRIES), ALL_RUNS)
    assert estimates(known) == Estimates(
        warm_ms=20,
        prewarmed_ms=60 + 50,
        cold_ms=1500 + 60 + 50,
        reload_ms=70 + 45,
        plans={A: Way(PLAN, 15 + 2 + 25)},
        wake_ms=8,
    )


def test_where_nothing_was_measured_nothing_is_known_but_for_the_plans_that_are_offered() -> None:
    assert estimates(NOBODY, KindFigures()) == Estimates()


def test_a_boot_that_nobody_saw_leaves_a_cold_start_unknown() -> None:
    kind = KindFigures(init_ms=100, runs_ms={After.RUN: 7})
    told = estimates(NOBODY, kind)
    assert (told.cold_ms, told.prewarmed_ms) == (None, 107)


def test_a_function_of_which_nothing_is_known_is_as_others_of_its_kind() -> None:
    kind = KindFigures(boot_ms=1500, init_ms=100, runs_ms={After.RUN: 20}, lags_ms={After.INIT: 30})
    assert estimates(NOBODY, kind) == Estimates(
        warm_ms=20,
        prewarmed_ms=100 + 20 + 30,
        cold_ms=1500 + 100 + 20 + 30,
        reload_ms=100 + 20 + 30,
        plans={A: Way(PLAN, (100 - 12) + 2 + 20)},
    )


def test_a_first_donor_is_better_than_a_stem_cell_by_the_loading_and_the_slow_first_run() -> None:
    kind = KindFigures(boot_ms=1500, init_ms=100, runs_ms={After.RUN: 20}, lags_ms={After.INIT: 30})
    told = estimates(NOBODY, kind)
    assert told.prewarmed_ms is not None
    assert told.prewarmed_ms - told.plans[A].ms == (12 - 2) + 30


def test_a_stem_cell_is_better_than_a_donor_without_a_plan_as_long_as_none_was_reloaded() -> None:
    kind = KindFigures(boot_ms=1500, init_ms=100, runs_ms={After.RUN: 20}, lags_ms={After.INIT: 30})
    cell, donor = container(state=State.PREWARMED), container(A)
    decision = pool.decide(
        job(), [cell, donor], budget_mb=4096, starts_at_once=2, donors=[donor], estimates=estimates(NOBODY, kind, {})
    )
    assert decision == pool.TakePrewarmed(cell.id)


def test_a_run_that_was_not_seen_is_told_from_one_that_was_by_the_lag_of_the_kind() -> None:
    kind = KindFigures(boot_ms=1, init_ms=1, lags_ms={After.INIT: 30, After.PLAN: 5})
    once = estimates(FunctionFigures(runs_ms={After.INIT: 50}), kind)
    assert once.warm_ms == 20
    assert once.plans[A].ms == 2 + (50 - 30 + 5)
    warm = estimates(FunctionFigures(runs_ms={After.RUN: 20}), kind)
    assert warm.prewarmed_ms == 1 + 20 + 30


def test_the_lag_after_a_load_is_that_after_an_init_until_it_is_known() -> None:
    guessed = KindFigures(init_ms=100, runs_ms={After.RUN: 20}, lags_ms={After.INIT: 30})
    known = KindFigures(init_ms=100, runs_ms={After.RUN: 20}, lags_ms={After.INIT: 30, After.LOAD: 3})
    assert (estimates(NOBODY, guessed).reload_ms, estimates(NOBODY, known).reload_ms) == (150, 123)


def test_what_other_transformations_took_corrects_the_guess_for_a_function_without_any() -> None:
    kind = KindFigures(
        init_ms=100, overhead_extra=Figure(-60, 1), reload_extra=Figure(-10, 1), runs_ms={After.RUN: 20}
    )
    told = estimates(NOBODY, kind)
    assert told.plans[A].ms == (100 - 12 - 60) + 2 + 20
    assert told.reload_ms == (100 - 10) + 20


def test_what_took_longer_than_the_guess_is_believed_when_it_was_seen_often_of_late() -> None:
    base = KindFigures(init_ms=100, runs_ms={After.RUN: 20})
    guess_ms = estimates(NOBODY, base).plans[A].ms
    for times, slower_ms in ((0, 0), (1, 0), (TRIES - 1, 0), (TRIES, 300)):
        of_others = replace(base, overhead_extra=Figure(300, times), reload_extra=Figure(300, times))
        told = estimates(NOBODY, of_others)
        assert (told.plans[A].ms, told.reload_ms) == (guess_ms + slower_ms, 120 + slower_ms)
        own = FunctionFigures(overhead=Figure(88 + 300, times), reload=Figure(100 + 300, times))
        told = estimates(own, base)
        assert (told.plans[A].ms, told.reload_ms) == (guess_ms + slower_ms, 120 + slower_ms)


def test_what_took_less_than_the_guess_is_believed_at_once() -> None:
    own = FunctionFigures(overhead=Figure(15, 1), reload=Figure(70, 1))
    told = estimates(own, KindFigures(init_ms=100, runs_ms={After.RUN: 20}))
    assert (told.plans[A].ms, told.reload_ms) == (15 + 2 + 20, 70 + 20)


def test_waking_is_as_long_as_putting_to_sleep_until_one_was_woken() -> None:
    assert estimates(NOBODY, KindFigures(sleep_ms=30)).wake_ms == 30
    assert estimates(NOBODY, KindFigures(sleep_ms=30, wake_ms=8)).wake_ms == 8


def test_containers_that_cannot_be_transformed_offer_no_such_way() -> None:
    known = FunctionFigures(60, Figure(15, TRIES), Figure(70, TRIES), ALL_RUNS)
    told = estimates(known, KindFigures(boot_ms=1, wake_ms=8, can_transform=False))
    assert told == Estimates(warm_ms=20, prewarmed_ms=110, cold_ms=111, wake_ms=8)


@pytest.mark.parametrize("seed", range(50))
def test_no_way_is_ever_estimated_sooner_than_a_warm_container(seed: int) -> None:
    """Whatever was measured: else a function would take a donor while its own container idles."""
    print(f"seed {seed}")
    chance = random.Random(seed)

    def ms() -> float | None:
        return None if chance.random() < 0.3 else round(chance.expovariate(1 / 100))

    def each() -> dict[After, float]:
        return {after: value for after in After if (value := ms()) is not None}

    def figure() -> Figure | None:
        return None if (value := ms()) is None else Figure(value - 50, chance.randrange(5))

    of = FunctionFigures(ms(), Figure(ms() or 0, chance.randrange(5)), Figure(ms() or 0, 1), each())
    kind = KindFigures(ms(), ms(), ms(), ms(), figure(), figure(), each(), each())
    told = estimates(of, kind)
    ways = [told.prewarmed_ms, told.cold_ms, told.reload_ms, *(way.ms for way in told.plans.values())]
    for way_ms in ways:
        assert way_ms is None or (told.warm_ms is not None and way_ms >= told.warm_ms)
