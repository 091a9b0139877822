"""Which models each function has, and the plans that this makes between functions: see `ports.Plans`.

One rule: a function is known by the revision of its action, so a container of an earlier revision is offered for what
it really holds, and one of a revision that nobody has looked at yet for nothing.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Collection

from instar_controller.clients.plans import KeptPlan
from instar_controller.clients.roll import Entry, Roll
from instar_controller.clients.weights import MODEL
from instar_controller.engines.registry import Registry
from instar_controller.policies.estimates import PlanOffer
from instar_controller.whisk.invocation import ContainerKey

PAST = 1024  # revisions that are no action's any more, but may be a container's


class Enrolment:
    """The actions that have models. Every method may be called from any thread; none waits.

    The models are registered under `name_of` them, before their action is enrolled; what an action has no more is
    unregistered here. `everywhere` is the location of a model that every container has, if there is one.
    """

    def __init__(self, registry: Registry, *, everywhere: str | None = None) -> None:
        self.registry = registry
        self._everywhere = everywhere
        self._lock = threading.Lock()  # for what follows
        self._entries: dict[str, Entry] = {}
        self._past: OrderedDict[int | str, Collection[str]] = OrderedDict()
        self._revisions: dict[int | str, Collection[str]] = {}
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
            self._revisions[entry.revision] = frozenset(entry.archived.values())
            self._past.pop(entry.revision, None)
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

    def roll(self) -> Roll:
        """All of it, to be kept."""
        costs = self.registry.costs
        with self._lock:
            entries, located = tuple(self._entries.values()), dict(self._located)
        return Roll(self.registry.costs_key, costs.device, entries, located)

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
            answer = self.registry.answer_for(source, target)
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
        models = set(self._revisions.get(key.revision) or self._past.get(key.revision, ()))
        location = next((value for name, value in key.environment if name == MODEL), self._everywhere)
        if location and (digest := self._located.get(location.rstrip("/"))):
            models.add(digest)
        return models

    def _leave(self, old: Entry | None) -> None:
        if old is not None and (models := self._revisions.pop(old.revision, None)):
            self._past[old.revision] = models
            while len(self._past) > PAST:
                self._past.popitem(last=False)

    def _unused_locations(self) -> set[str]:
        """Locations that no action names; they are forgotten here."""
        used = {entry.location for entry in self._entries.values()}
        gone = {location for location in self._located if location not in used}
        for location in gone:
            del self._located[location]
        return gone

    def _unregister(self, names: Collection[str]) -> None:
        for name in names:
            self.registry.unregister(name)


def name_of(action: str, model: str) -> str:
    """The name under which a model in an action's archive is registered."""
    return f"{action}:{model}"


def _names(entry: Entry) -> list[str]:
    return [name_of(entry.action, model) for model in entry.archived]


def _saved_ms(offer: PlanOffer) -> float:
    return offer.load_ms - offer.transform_ms
