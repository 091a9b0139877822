"""How the pipeline's benchmark turns times into figures. Pure.

The limit of a first answer is `max(bytes / bandwidth, warm pass)`: the bandwidth is the link's nominal one, or the
disk's as it was measured in the same round; the warm pass is the module's, of the same round.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tests.bench import figures

LARGE_BYTES = 40e6
SLACK_BYTES = 64 * 2**20
Quartiles = tuple[float, float, float]


@dataclass(frozen=True, slots=True)
class Round:
    """One round of a cell: the first answer of each system, and what the limit is made of."""

    first_ms: Mapping[str, float]
    warm_ms: float
    bandwidth: float  # bytes a second
    occupancy: float  # of the bottleneck stage of our pipeline
    bottleneck: str


@dataclass(frozen=True, slots=True)
class Cell:
    """One model over one link."""

    model: str
    nbytes: int
    link: str
    rounds: tuple[Round, ...]

    @property
    def is_large(self) -> bool:
        return self.nbytes >= LARGE_BYTES

    def limit_ms(self, turn: Round) -> float:
        return max(self.nbytes / turn.bandwidth * 1000, turn.warm_ms)

    def over_limit(self, system: str) -> Quartiles:
        return figures.quartiles(turn.first_ms[system] / self.limit_ms(turn) for turn in self.rounds)

    def below(self, system: str, other: str) -> Quartiles:
        """How far a system's first answer lies below another's: 0.7 means that 70% of the time is gone."""
        return figures.quartiles(1 - turn.first_ms[system] / turn.first_ms[other] for turn in self.rounds)

    def median_ms(self, system: str) -> float:
        return figures.quartiles(turn.first_ms[system] for turn in self.rounds)[1]

    def best(self, systems: Iterable[str]) -> str:
        """The system with the least median."""
        return min(systems, key=self.median_ms)

    @property
    def occupancy(self) -> Quartiles:
        return figures.quartiles(turn.occupancy for turn in self.rounds)


def geometric(values: Sequence[Quartiles]) -> Quartiles:
    """The geometric mean over cells of each quartile."""
    lower, middle, upper = (figures.geometric_mean(column) for column in zip(*values, strict=True))
    return lower, middle, upper


def arithmetic(values: Sequence[Quartiles]) -> Quartiles:
    """The mean over cells of each quartile."""
    lower, middle, upper = (sum(column) / len(values) for column in zip(*values, strict=True))
    return lower, middle, upper


def largest(values: Iterable[Quartiles]) -> Quartiles:
    """Of several cells the one with the largest median."""
    return max(values, key=lambda quartiles: quartiles[1])


def least(values: Iterable[Quartiles]) -> Quartiles:
    return min(values, key=lambda quartiles: quartiles[1])


def peak_over_weights(peak_bytes: int, weights_bytes: int) -> float:
    """The peak beyond what any program may take, over the weights."""
    return (peak_bytes - SLACK_BYTES) / weights_bytes


def rounds_of(cost_s: float, *, budget_s: float, most: int) -> int:
    """How often a cell is measured whose round takes so long: as often as its budget allows, and once at least."""
    return max(1, min(most, int(budget_s / cost_s)))
