"""Rates from measurements: least squares of the relative error, no rate below zero.

The *relative* error, since a tenth of a millisecond too much decides more about a small model than about a large one.
No rate is negative, since an estimate for a model unlike those measured would then fall below what anything costs.
What came out says how far off it is; `judge` says it for measurements that the fit has not seen, which is the figure
to believe.

Source of the method: C. Lawson, R. Hanson, "Solving Least Squares Problems", 1974, chapter 23 (active set).
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from instar.errors import PlanError
from instar.plan.costs import Amounts, Costs

# A rate that rests on fewer measurements than this says more about those than about the device.
LEAST_SAMPLES = 3
_TOLERANCE = 1e-10  # of a column scaled to length 1
_RIDGE = 1e-12  # keeps amounts that nearly always go together from making the equations unsolvable

Matrix = list[list[float]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement: how much work there was, and how long it took."""

    amounts: Amounts
    measured_ns: float


@dataclass(frozen=True, slots=True)
class Error:
    """How far estimates are from the truth, as shares of the truth."""

    samples: int
    median: float
    p90: float
    within_30: float  # the share of samples whose estimate is at most 30 % off

    def __str__(self) -> str:
        return (
            f"{self.samples} samples, median error {self.median:.1%}, 90th percentile {self.p90:.1%}, "
            f"{self.within_30:.1%} within 30 %"
        )


@dataclass(frozen=True, slots=True)
class Fitted:
    """Costs, and their error on the very samples that they were fitted to."""

    costs: Costs
    error: Error


def fit(samples: Sequence[Sample], *, device: str) -> Fitted:
    """The rates that explain the samples best. Raises `PlanError` for samples that say nothing."""
    _check(samples)
    seen = Counter(name for sample in samples for name, amount in sample.amounts.items() if amount)
    names = sorted(name for name, count in seen.items() if count >= LEAST_SAMPLES)
    rows = [[sample.amounts.get(name, 0) / sample.measured_ns for name in names] for sample in samples]
    costs = Costs(device, dict(zip(names, _nonnegative(rows), strict=True)))
    return Fitted(costs, judge(costs, samples))


def judge(costs: Costs, samples: Sequence[Sample]) -> Error:
    """How far these costs are from measurements. Raises `PlanError` for samples that say nothing."""
    _check(samples)
    return _summary(_errors(costs, samples))


def hold_out(samples: Sequence[Sample], groups: Sequence[str]) -> Error:
    """How far costs are from what they were not fitted to: each group of samples is judged by a fit to all others.

    `groups` has a name for each sample. Raises `PlanError` for samples that say nothing, or of fewer than two groups.
    """
    _check(samples)
    if len(names := sorted(set(groups))) < 2:
        raise PlanError(f"the samples are of {len(names)} group, so none can be held out; measure more networks")
    errors: list[float] = []
    for name in names:
        seen = [sample for sample, group in zip(samples, groups, strict=True) if group != name]
        unseen = [sample for sample, group in zip(samples, groups, strict=True) if group == name]
        errors += _errors(fit(seen, device="held out").costs, unseen)
    return _summary(errors)


def _errors(costs: Costs, samples: Sequence[Sample]) -> list[float]:
    return [abs(costs.cost_ns(s.amounts) - s.measured_ns) / s.measured_ns for s in samples]


def _summary(errors: Sequence[float]) -> Error:
    ordered = sorted(errors)
    return Error(
        samples=len(ordered),
        median=_percentile(ordered, 0.5),
        p90=_percentile(ordered, 0.9),
        within_30=sum(error <= 0.3 for error in ordered) / len(ordered),
    )


def _check(samples: Sequence[Sample]) -> None:
    if not samples:
        raise PlanError("there are no samples to learn costs from; measure some transformations and loads first")
    for sample in samples:
        if not (math.isfinite(sample.measured_ns) and sample.measured_ns > 0):
            raise PlanError(f"a sample took {sample.measured_ns} ns; only times above zero can be learned from")


def _percentile(ordered: Sequence[float], share: float) -> float:
    """The least value that this share of all does not exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _nonnegative(rows: Matrix) -> list[float]:
    """The x ≥ 0 for which each row's product with x is nearest to 1."""
    columns = list(zip(*rows, strict=True))
    lengths = [math.sqrt(math.fsum(v * v for v in column)) for column in columns]
    unit = [[v / length for v in column] for column, length in zip(columns, lengths, strict=True)]
    gram = [[math.fsum(a * b for a, b in zip(one, two, strict=True)) for two in unit] for one in unit]
    wanted = [math.fsum(column) for column in unit]
    scaled = _active_set(gram, wanted)
    return [value / length for value, length in zip(scaled, lengths, strict=True)]


def _active_set(gram: Matrix, wanted: list[float]) -> list[float]:
    """The x ≥ 0 that is least in ½ x·gram·x - wanted·x: let in what helps most, put out what would go below zero."""
    found = [0.0] * len(wanted)
    inside: list[int] = []
    tolerance = _TOLERANCE * max(map(abs, wanted), default=0.0)
    for _ in range(10 * len(wanted) + 1):  # it ends far earlier, but for rounding
        slope = [
            w - math.fsum(g * x for g, x in zip(row, found, strict=True)) for w, row in zip(wanted, gram, strict=True)
        ]
        outside = [i for i in range(len(wanted)) if i not in inside and slope[i] > tolerance]
        if not outside:
            break
        inside.append(max(outside, key=slope.__getitem__))
        while True:
            best = _solve([[gram[i][j] for j in inside] for i in inside], [wanted[i] for i in inside])
            pairs = list(zip(inside, best, strict=True))
            if min(best) > 0:
                for i, b in pairs:
                    found[i] = b
                break
            # Go towards the best only as far as everything stays at or above zero, and leave out what got there.
            limits = {i: found[i] / (found[i] - b) if found[i] > b else 0.0 for i, b in pairs if b <= 0}
            first = min(limits, key=limits.__getitem__)
            for i, b in pairs:
                found[i] += limits[first] * (b - found[i])
            for i in [i for i in limits if i == first or found[i] <= tolerance]:
                inside.remove(i)
                found[i] = 0.0
            if not inside:
                break
    return found


def _solve(matrix: Matrix, wanted: list[float]) -> list[float]:
    """Solve a small symmetric system by elimination with pivots."""
    size = len(wanted)
    rows = [[*row, w] for row, w in zip(matrix, wanted, strict=True)]
    for i in range(size):
        rows[i][i] += _RIDGE
    for i in range(size):
        pivot = max(range(i, size), key=lambda r: abs(rows[r][i]))
        rows[i], rows[pivot] = rows[pivot], rows[i]
        for r in range(i + 1, size):
            factor = rows[r][i] / rows[i][i]
            if factor:
                rows[r] = [a - factor * b for a, b in zip(rows[r], rows[i], strict=True)]
    found = [0.0] * size
    for i in reversed(range(size)):
        rest = math.fsum(rows[i][j] * found[j] for j in range(i + 1, size))
        found[i] = (rows[i][size] - rest) / rows[i][i]
    return found
