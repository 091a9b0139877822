"""How the benchmark of transformations turns times into figures. Pure.

Times are ms from the beginning of a way. A *load part* is all of it but the first pass: structure and binding. A
*bind* is the load part without reading the structure. What counts for a pair is the way that the planner *decided*
for; what a ratio is taken of was measured in the same round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench import figures

SAME, FAMILY, ACROSS = "same", "family", "across"
TRANSFORM, LOAD = "transform", "load"
WITHIN = 0.3  # of the truth
Quartiles = tuple[float, float, float]

TARGETS = {
    "same_bind_ms_max": "≤ 0.6",
    "same_first_answer_over_warm": "≤ 1.05",
    "same_load_below_b0": "≥ 0.995",
    "same_load_below_b1": "≥ 0.85",
    "family_bind_ms": "≤ 3",
    "family_first_answer_over_warm": "≤ 1.15",
    "worst_over_scratch": "≤ 1.05",
    "plan_over_optimal": "≤ 1.10",
    "plan_us_per_operator": "≤ 2",
    "estimate_within_30": "≥ 0.9",
    "pairs": "of 24 models or more",
    "pairs_bit_equal": "all of them",
}


@dataclass(frozen=True, slots=True)
class Taken:
    """One way to a first answer. `structure_ms` and `bound_ms` are from the beginning, so the bind lies between."""

    structure_ms: float
    bound_ms: float
    first_ms: float
    warm_ms: float | None  # a pass of the same live model afterwards, where it was measured
    is_equal: bool  # the answer to that of a fresh load, bit by bit

    @property
    def bind_ms(self) -> float:
        return self.bound_ms - self.structure_ms


Round = Mapping[str, Taken]  # by way: TRANSFORM, LOAD and the references of the target


@dataclass(frozen=True, slots=True)
class Pair:
    """What a live `source` takes to become `target`."""

    source: str
    target: str
    kinship: str
    decided: str  # TRANSFORM or LOAD
    estimate_ms: Mapping[str, float]  # of both
    rounds: tuple[Round, ...]

    @property
    def name(self) -> str:
        return f"{self.source} → {self.target}"

    def bind_ms(self) -> Quartiles:
        return figures.quartiles(turn[self.decided].bind_ms for turn in self.rounds)

    def structure_ms(self) -> Quartiles:
        return figures.quartiles(turn[self.decided].structure_ms for turn in self.rounds)

    def bound_ms(self, way: str) -> Quartiles:
        return figures.quartiles(turn[way].bound_ms for turn in self.rounds)

    def over_warm(self) -> Quartiles:
        """The first answer, from the beginning, over a warm pass after it. Raises `ValueError` if none was taken."""
        ratios = []
        for turn in self.rounds:
            taken = turn[self.decided]
            if taken.warm_ms is None:
                raise ValueError(f"no warm pass was measured for {self.name}")
            ratios.append(taken.first_ms / taken.warm_ms)
        return figures.quartiles(ratios)

    def load_over(self, other: str) -> Quartiles:
        """The load part over that of another way."""
        return figures.quartiles(turn[self.decided].bound_ms / turn[other].bound_ms for turn in self.rounds)

    def is_estimated(self, way: str) -> bool:
        """Whether the estimate of a way is close enough to the median of what it took."""
        truth = self.bound_ms(way)[1]
        return abs(self.estimate_ms[way] - truth) <= WITHIN * truth

    @property
    def is_decided_right(self) -> bool:
        """Whether the way that was decided for is the one with the smaller median."""
        other = LOAD if self.decided == TRANSFORM else TRANSFORM
        return self.bound_ms(self.decided)[1] <= self.bound_ms(other)[1]

    @property
    def is_equal(self) -> bool:
        return all(turn[way].is_equal for turn in self.rounds for way in (TRANSFORM, LOAD))


@dataclass(frozen=True, slots=True)
class Planned:
    """How good a plan is, and how long it took to make."""

    operators: int  # of both models
    plan_us: Quartiles
    over_optimal: float

    @property
    def us_per_operator(self) -> float:
        return self.plan_us[1] / self.operators


def kinship(source: str, target: str, families: Sequence[frozenset[str]]) -> str:
    """Of two models of different names: `FAMILY` or `ACROSS`."""
    return FAMILY if any({source, target} <= family for family in families) else ACROSS


def of_kinship(pairs: Iterable[Pair], wanted: str) -> list[Pair]:
    return [pair for pair in pairs if pair.kinship == wanted]


def over_models(values: Sequence[Quartiles]) -> Quartiles:
    """The geometric mean of each quartile, so that each model or pair counts alike."""
    lower, middle, upper = zip(*values, strict=True)
    return figures.geometric_mean(lower), figures.geometric_mean(middle), figures.geometric_mean(upper)


def below(lower_middle_upper: Quartiles) -> Quartiles:
    """How far below one a ratio lies: 0.97 means that 97% of the other's time is gone."""
    lower, middle, upper = lower_middle_upper
    return 1 - upper, 1 - middle, 1 - lower


def worst(values: Iterable[Quartiles]) -> Quartiles:
    """Of several the one with the largest median."""
    return max(values, key=lambda quartiles: quartiles[1])


def share(values: Iterable[bool]) -> float:
    """How many of these hold. Raises `ValueError` on none."""
    found = list(values)
    if not found:
        raise ValueError("no values to take a share of")
    return sum(found) / len(found)
