"""The plans that a node has at hand: as many as fit, those that were asked for last.

One rule: who asks never waits. What is known to exist but is not at hand is asked for in the background, and is there
for the next one.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace

from instar_controller.clients.plans import Answer, KeptPlan

Pair = tuple[str, str]  # digests of source and target

OVERHEAD_BYTES = 600  # of an entry beside its plan


@dataclass(frozen=True, slots=True)
class Lookups:
    """How often a pair of models was asked for, by what was found."""

    hit: int = 0  # the plan is at hand
    miss: int = 0  # there is one, and it has to be fetched first
    none: int = 0  # nobody knows of one: it is not made yet, or loading is no slower


class PlanCache:
    """An `enrolment.Models` of at most `most_bytes`. `on_missed` is told of plans that are to be put here again; it
    must not wait. Safe for several threads."""

    def __init__(self, most_bytes: int, on_missed: Callable[[Pair], None]) -> None:
        self._most_bytes = most_bytes
        self._on_missed = on_missed
        self._lock = threading.Lock()  # for what follows
        self._plans: OrderedDict[Pair, KeptPlan] = OrderedDict()  # the one asked for last at the end
        self._elsewhere: set[Pair] = set()  # known, and not at hand
        self._asked: set[Pair] = set()  # of those, the ones that are on their way
        self._bytes = 0
        self._lookups = Lookups()

    def __len__(self) -> int:
        return len(self._plans)

    @property
    def known(self) -> int:
        """How many plans there are, at hand or not."""
        return len(self._plans) + len(self._elsewhere)

    @property
    def lookups(self) -> Lookups:
        """What was asked for since the start."""
        return self._lookups

    @property
    def nbytes(self) -> int:
        """How much memory the plans take, about."""
        return self._bytes

    def answer_for(self, source: str, target: str) -> Answer | None:
        """The plan, if it is at hand."""
        pair = (source, target)
        with self._lock:
            plan = self._plans.get(pair)
            if plan is not None:
                self._plans.move_to_end(pair)
                self._lookups = replace(self._lookups, hit=self._lookups.hit + 1)
                return plan
            if pair in self._elsewhere:
                self._lookups = replace(self._lookups, miss=self._lookups.miss + 1)
            else:
                self._lookups = replace(self._lookups, none=self._lookups.none + 1)
            is_missed = pair in self._elsewhere and pair not in self._asked
            if is_missed:
                self._asked.add(pair)
        if is_missed:
            self._on_missed(pair)
        return None

    def unregister(self, name: str) -> None:
        """Models are not known by name here: their plans go when they go from the database."""

    def put(self, pair: Pair, answer: Answer | None) -> None:
        """This is what the database has for a pair now. Where there is no plan, nothing is kept."""
        with self._lock:
            self._drop(pair)
            self._elsewhere.discard(pair)
            self._asked.discard(pair)
            if isinstance(answer, KeptPlan):
                self._plans[pair] = answer
                self._bytes += _size(answer)
                self._make_room()

    def miss(self, pair: Pair) -> None:
        """It could not be fetched; the next one who asks may have it tried again."""
        with self._lock:
            self._asked.discard(pair)

    def leave_only(self, pairs: Collection[Pair]) -> None:
        """There are no plans but for these."""
        with self._lock:
            for pair in [pair for pair in self._plans if pair not in pairs]:
                self._drop(pair)
            self._elsewhere.intersection_update(pairs)

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._plans.clear()
            self._elsewhere.clear()
            self._asked.clear()
            self._bytes = 0

    def _drop(self, pair: Pair) -> None:
        plan = self._plans.pop(pair, None)
        if plan is not None:
            self._bytes -= _size(plan)

    def _make_room(self) -> None:
        while self._bytes > self._most_bytes:
            pair, plan = self._plans.popitem(last=False)
            self._bytes -= _size(plan)
            self._elsewhere.add(pair)


def _size(plan: KeptPlan) -> int:
    return len(plan.compressed) + OVERHEAD_BYTES
