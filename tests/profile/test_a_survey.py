"""A survey measures every pair both ways, as often as it says, and what is learned of it is a profile."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path

import pytest

from instar import profiles
from instar.errors import PlanError
from instar.executor.live import LiveModel
from instar.executor.profiling import measuring, survey
from instar.executor.profiling.survey import Measured, Survey
from instar.plan.costs import WORK
from instar.weights.fetch import Fetcher
from instar.weights.store import Store


def test_a_profile_is_of_this_device_and_of_as_many_samples_as_were_taken(tmp_path: Path, tiny: Survey) -> None:
    told: list[tuple[int, int]] = []
    found = survey.profile(tiny, tmp_path, lambda done, count: told.append((done, count)))
    pairs = 2 * 3 + tiny.strangers  # three variants, both ways
    assert told == [(n, tiny.rounds * pairs) for n in range(1, tiny.rounds * pairs + 1)]
    assert found.costs.device == profiles.device_kind()
    assert set(found.costs.rates_ns) <= WORK
    assert all(rate >= 0 for rate in found.costs.rates_ns.values())
    assert found.error.samples == found.held_out.samples == 2 * pairs
    assert profiles.decode(profiles.encode(found)) == found


def test_the_same_pairs_are_measured_each_time_and_none_twice(tmp_path: Path, store: Store, tiny: Survey) -> None:
    found = survey.prepare(tiny, tmp_path, store)
    first, second = (survey.pairs(found, tiny) for _ in range(2))
    assert first == second
    assert len(set(first)) == len(first)


def test_networks_too_large_for_the_machine_are_left_out(
    tmp_path: Path, store: Store, tiny: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "LARGEST_SHARE", 10**9)
    assert survey.prepare(tiny, tmp_path, store) == {}


def test_rounds_end_when_time_is_up_but_for_the_first(tmp_path: Path, tiny: Survey) -> None:
    told: list[tuple[int, int]] = []
    survey.profile(replace(tiny, rounds=50, budget_s=0), tmp_path, lambda done, count: told.append((done, count)))
    done, count = told[-1]
    assert done == count // 50 * survey.LEAST_ROUNDS


def test_each_way_is_learned_from_the_work_that_it_is(tmp_path: Path, store: Store, tiny: Survey) -> None:
    found = survey.prepare(tiny, tmp_path, store)
    source, target = found["residual-2-4"], found["residual-2-4'"]
    transformed, loaded = Measured(source, target, 5.0, 7.0).samples()
    assert (transformed.measured_ns, loaded.measured_ns) == (5.0, 7.0)
    assert (transformed.amounts["view"], transformed.amounts["edge"], transformed.amounts["dropped view"]) == (
        0,
        0,
        0,
    )
    assert loaded.amounts["load view"] == loaded.amounts["closed view"] == target.outline.views
    assert set(transformed.amounts) | set(loaded.amounts) <= WORK


def test_weights_that_do_not_stay_in_memory_are_an_error_and_garbage_is_collected_again(
    tmp_path: Path, store: Store, tiny: Survey, fetcher: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = next(iter(survey.prepare(tiny, tmp_path, store).values()))
    monkeypatch.setattr(LiveModel, "is_ready", property(lambda self: False))
    for measure in (measuring.transformation_ns, measuring.load_ns):
        with pytest.raises(PlanError, match="were not in memory 3 times"):
            measure(subject, subject, fetcher)
    assert gc.isenabled()
