"""Which models each function has, and the plans that this makes between functions: see `ports.Plans`.

One rule: a function is known by its action and that one's revision, so a container of an earlier revision is offered
for what it really holds, and one of a revision that nobody has looked at yet for nothing.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Collection
from typing import Protocol

from instar_controller.clients.plans import Answer, KeptPlan
from instar_controller.clients.roll import Entry
from instar_controller.clients.weights import MODEL
from instar_controller.policies.estimates import PlanOffer
from instar_controller.whisk.invocation import ContainerKey

PAST = 1024  # revisions that are no action's any more, but may be a container's


Revision = tuple[str, int | str]  # of an action


class Models(Protocol):
    """The models that are registered by name, and the plans between them. No method waits."""

    def unregister(self, name: str) -> None:
        """Forget a name, and its model and plans if no other name has it."""

    def answer_for(self, source: str, target: str) -> Answer | None:
        """What is known of this pair of digests."""


class Enrolment:
    """The actions that have models. Every method may be called from any thread; none waits.

    The models are registered under `name_of` them, before their action is enrolled; what an action has no more is
    unregistered here. `everywhere` is the location of a model that every container has, if there is one.
    """

    def __init__(self, models: Models, *, everywhere: str | None = None) -> None:
        self._models = models
        self._everywhere = everywhere
        self._lock = threading.Lock()  # for what follows
        self._entries: dict[str, Entry] = {}
        self._past: OrderedDict[Revision, Collection[str]] = OrderedDict()
        self._revisions: dict[Revision, Collection[str]] = {}
        self._located: dict[str, str] = {}

    def entry(self, action: str) -> Entry | None:
        """What was enrolled of an action."""
        return self._entries.get(action)

    def enrol(self, entry: Entry) -> None:
        """Take an action's models on, in the place of those that it had."""
        with self._lock:
            old = self._entries.get(entry.action)
            self._entries[entry.action] = entry
            self._leave(old)
            self._revisions[entry.action, entry.revision] = frozenset(entry.archived.values())
            self._past.pop((entry.action, entry.revision), None)
            gone = set(_names(old)) - set(_names(entry)) if old else set()
            gone |= self._unused_locations()
        self._unregister(gone)

    def strike(self, action: str) -> None:
        """Forget an action."""
        with self._lock:
            old = self._entries.pop(action, None)
            self._leave(old)
            gone = (set(_names(old)) if old else set()) | self._unused_locations()
        self._unregister(gone)

    def locate(self, location: str, digest: str) -> None:
        """This model lies at that location now; it is registered under the location."""
        with self._lock:
            self._located[location] = digest
            gone = self._unused_locations()  # nobody may want it any more
        self._unregister(gone)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """What is enrolled."""
        with self._lock:
            return tuple(self._entries.values())

    @property
    def located(self) -> dict[str, str]:
        """By location: the digest of the model that lies there, of those that actions name."""
        with self._lock:
            return dict(self._located)

    @property
    def actions(self) -> int:
        """How many actions have models."""
        with self._lock:
            return sum(bool(entry.archived) or entry.location in self._located for entry in self._entries.values())

    def offer(self, donor: ContainerKey, job: ContainerKey) -> PlanOffer | None:
        """Of all plans from a model of the donor's to one of the job's the one that saves most."""
        with self._lock:
            sources, targets = self._models_of(donor), self._models_of(job)
        best: PlanOffer | None = None
        for source, target in itertools.product(sorted(sources), sorted(targets)):
            answer = self._models.answer_for(source, target)
            if isinstance(answer, KeptPlan):
                found = PlanOffer(
                    answer.compressed, answer.estimate.transform_ns / 1e6, answer.estimate.load_ns / 1e6
                )
                if best is None or _saved_ms(found) > _saved_ms(best):
                    best = found
        return best

    def __repr__(self) -> str:
        return f"<Enrolment of {self.actions} actions>"

    def _models_of(self, key: ContainerKey) -> set[str]:
        revision = (key.action, key.revision)
        models = set(self._revisions.get(revision) or self._past.get(revision, ()))
        location = next((value for name, value in key.environment if name == MODEL), self._everywhere)
        if location and (digest := self._located.get(location.rstrip("/"))):
            models.add(digest)
        return models

    def _leave(self, old: Entry | None) -> None:
        if old is not None and (models := self._revisions.pop((old.action, old.revision), None)):
            self._past[old.action, old.revision] = models
            while len(self._past) > PAST:
                self._past.popitem(last=False)

    def _unused_locations(self) -> set[str]:
        """Locations that no action names; they are forgotten here."""
        if not self._located:  # as it mostly is; to look through thousands of actions for each takes time
            return set()
        used = {entry.location for entry in self._entries.values()}
        gone = {location for location in self._located if location not in used}
        for location in gone:
            del self._located[location]
        return gone

    def _unregister(self, names: Collection[str]) -> None:
        for name in names:
            self._models.unregister(name)


def name_of(action: str, model: str) -> str:
    """The name under which a model in an action's archive is registered."""
    return f"{action}:{model}"


def _names(entry: Entry) -> list[str]:
    return [name_of(entry.action, model) for model in entry.archived]


def _saved_ms(offer: PlanOffer) -> float:
    return offer.load_ms - offer.transform_ms
