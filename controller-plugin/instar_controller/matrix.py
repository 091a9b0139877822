"""The plans between all models of a server or a cluster, as a matrix to look at.

One rule: it is read from where plans are kept, beside the running programs and without asking them. So it may be a
moment behind, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from instar_controller.clients.plans import Answer, KeptPlan, PlanRepository
from instar_controller.clients.roll import Roll
from instar_controller.engines.registries import without_plan
from instar_controller.engines.repository import Repository
from instar_controller.errors import StoreError


@dataclass(frozen=True, slots=True)
class Model:
    """A model, by the name of its action."""

    name: str
    digest: str


@dataclass(frozen=True, slots=True)
class Matrix:
    """Models by name, and what is known of each pair (source, target) of digests; a pair that is not planned yet has
    no answer."""

    device: str
    models: tuple[Model, ...]
    answers: Mapping[tuple[str, str], Answer]

    def answer(self, source: Model, target: Model) -> Answer | None:
        """What is known of a pair."""
        return self.answers.get((source.digest, target.digest))

    @property
    def plans(self) -> int:
        """How many pairs have a plan."""
        pairs = ((source, target) for source in self.models for target in self.models)
        return sum(isinstance(self.answer(*pair), KeptPlan) for pair in pairs)


def read(repository: PlanRepository) -> Matrix:
    """The matrix that a server keeps there. Raises `StoreError` if it keeps none."""
    roll = repository.roll()
    if roll is None:
        raise StoreError(
            f"{repository.root} has no plans: name the --state of an `instar serve` that makes some "
            "(it does not with --costs none, nor before this machine is measured)"
        )
    return of(repository, roll, roll.costs, roll.device)


def of(repository: Repository, roll: Roll, costs: str, device: str) -> Matrix:
    """The matrix of all models on the roll, at these costs (`plans.key_of`), which are those of this kind of device.
    The plans themselves are left out. Raises `StoreError`."""
    models = tuple(Model(name, digest) for name, digest in roll.named().items())
    digests = sorted({model.digest for model in models})
    answers: dict[tuple[str, str], Answer] = {}
    for source in digests:  # a row at a time: all plans together may be more than memory takes
        row = repository.find_all([(source, target) for target in digests], costs)
        answers |= {pair: without_plan(answer) for pair, answer in row.items()}
    return Matrix(device, models, answers)
