"""Rates are found again from times that they explain, and an error is told where they do not."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from instar.errors import PlanError
from instar.plan import fit
from instar.plan.fit import Sample

RATES = {"transform": 100_000.0, "view": 2_000.0, "moved byte": 0.01, "edge": 0.0, "add": 350.0}


def samples(rng: random.Random, count: int, *, noise: float) -> list[Sample]:
    found = []
    for _ in range(count):
        work = {"transform": 1, "view": rng.randrange(500), "moved byte": rng.randrange(10**8),
                "edge": rng.randrange(500), "add": rng.randrange(300)}  # fmt: skip
        true = sum(rate * work[name] for name, rate in RATES.items())
        found.append(Sample(work, true * (1 + noise * (2 * rng.random() - 1))))
    return found


@pytest.mark.parametrize("seed", range(5))
def test_exact_times_give_the_rates_back(seed: int) -> None:
    fitted = fit.fit(samples(random.Random(seed), 40, noise=0), device="made up")
    for name, rate in RATES.items():
        assert fitted.costs.rates_ns[name] == pytest.approx(rate, rel=1e-3, abs=1e-2)
    assert fitted.error.p90 < 1e-5 and fitted.error.within_30 == 1


@pytest.mark.parametrize("seed", range(5))
def test_the_error_tells_the_noise_on_times_that_the_fit_has_not_seen(seed: int) -> None:
    rng = random.Random(seed)
    fitted = fit.fit(samples(rng, 100, noise=0.2), device="made up")
    error = fit.judge(fitted.costs, samples(rng, 200, noise=0.2))
    print(f"seed {seed}: {error}")
    assert 0.05 < error.median < 0.2 and error.within_30 > 0.9


@pytest.mark.parametrize("seed", range(5))
def test_no_rate_is_negative_however_odd_the_times(seed: int) -> None:
    rng = random.Random(seed)
    odd = [Sample(s.amounts, rng.uniform(1, 1e6)) for s in samples(rng, 30, noise=0)]
    fitted = fit.fit(odd, device="made up")
    assert all(rate >= 0 for rate in fitted.costs.rates_ns.values())
    assert fitted.error.within_30 < 0.9  # and it says that they explain little


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12), st.integers(3, 30))
def test_no_other_rates_explain_the_times_better(seed: int, columns: int, count: int) -> None:
    """Invariant: the error is that of scipy's solver, also where amounts hang together and times follow no rule."""
    rng = np.random.default_rng(seed)
    work = rng.integers(0, 1000, (count, columns)) * 10 ** rng.integers(0, 6, columns)
    work[:, : columns // 2] = work[:, columns - columns // 2 :] * rng.integers(1, 4)  # one is a multiple of another
    work[:, -1] += 1
    times = rng.uniform(1, 1e9, count)
    found = [
        Sample({str(c): int(n) for c, n in enumerate(row)}, float(t)) for row, t in zip(work, times, strict=True)
    ]
    rates = fit.fit(found, device="made up").costs.rates_ns
    names = [int(name) for name in rates]
    shares = work[:, names] / times[:, None]
    ours = np.linalg.norm(shares @ np.array([rates[str(n)] for n in names]) - 1)
    least = nnls(shares / np.linalg.norm(shares, axis=0), np.ones(count))[1]
    assert ours <= least * (1 + 1e-6) + 1e-6


def test_amounts_that_always_go_together_share_a_rate_that_adds_up() -> None:
    together = [Sample({"view": n, "load view": n, "load": 1}, 1000.0 + 50 * n) for n in range(1, 20)]
    rates = fit.fit(together, device="made up").costs.rates_ns
    assert rates["view"] + rates["load view"] == pytest.approx(50)
    assert rates["load"] == pytest.approx(1000)


def test_what_was_seen_too_rarely_gets_no_rate() -> None:
    rare = [Sample({"load": 1, **({"add rare": 1} if n < fit.LEAST_SAMPLES - 1 else {})}, 1000.0) for n in range(9)]
    assert set(fit.fit(rare, device="made up").costs.rates_ns) == {"load"}


def test_no_samples_and_impossible_times_are_refused() -> None:
    with pytest.raises(PlanError, match="measure some transformations"):
        fit.fit([], device="made up")
    for time in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(PlanError, match="only times above zero"):
            fit.fit([Sample({"load": 1}, time)], device="made up")


def test_what_is_held_out_is_judged_by_what_was_learned_of_the_others() -> None:
    alike = [Sample({"view": n}, 100.0 * n) for n in range(1, 9)]
    other = [Sample({"view": n}, 50.0 * n) for n in range(1, 9)]
    groups = ["a"] * 4 + ["b"] * 4
    assert fit.hold_out(alike, groups).median == pytest.approx(0, abs=1e-9)
    found = fit.hold_out([*alike, *other], [*groups, *["c"] * 8])
    # The fit to a and b alone says 100 for each view of c, twice the truth.
    assert found.samples == 16 and found.p90 == pytest.approx(1.0)


def test_nothing_can_be_held_out_of_one_group() -> None:
    with pytest.raises(PlanError, match="1 group"):
        fit.hold_out([Sample({"load": 1}, 1.0)], ["a"])
