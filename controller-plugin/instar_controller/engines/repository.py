"""What the engines that plan need of whoever keeps models and plans: a disk, or a database that many share.

One rule: an entry is found under digests of all that it was made of, so two who write the same one write the same,
and none is ever out of date. One contract suite runs over all makers of this.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Protocol

from instar.plan.outline import Outline
from instar_controller.clients.plans import Answer
from instar_controller.clients.roll import Roll


class Repository(Protocol):
    """Models, plans by the digests of both models and of the costs, and the roll of actions.

    Safe for several threads and processes, and can be sent to another process. Every method may raise `StoreError`.
    What is damaged counts as absent. Two that keep things in the same place are equal.
    """

    def __hash__(self) -> int:
        """Of the place."""

    def put_model(self, digest: str, model_json: bytes) -> None:
        """Keep what `package.encode` wrote of the model of this digest. Raises `TooLargeError` if it never will."""

    def model_json(self, digest: str) -> bytes | None:
        """What `put_model` was given, or None if it is not here."""

    def outline(self, digest: str) -> Outline | None:
        """What the planner sees of a model, or None if the model is not here."""

    def put(self, source: str, target: str, costs: str, answer: Answer) -> None:
        """Keep what came of planning; `costs` is the `plans.key_of` them. Raises `TooLargeError` if it never will."""

    def find(self, source: str, target: str, costs: str) -> Answer | None:
        """What came of planning, or None if nobody planned this."""

    def find_all(self, pairs: Iterable[tuple[str, str]], costs: str) -> Mapping[tuple[str, str], Answer]:
        """What `find` has of these pairs of source and target."""

    def put_roll(self, roll: Roll) -> None:
        """Keep the roll, in the place of an earlier one."""

    def roll(self) -> Roll | None:
        """The roll that was kept last, or None."""

    def collect(self, *, models: Collection[str], costs: Collection[str]) -> int:
        """Remove whatever is for other models or other costs than these digests; returns how many entries went."""
