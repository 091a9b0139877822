"""Keeps the registry of models in step with the stored actions.

One rule: nobody waits for it. Who has written an action or a package drops its key here and goes on; one thread
reads what it now is, registers its models and forgets those that it had. Another one reads the models that lie at a
URL, for that may take as long as their source likes.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from queue import SimpleQueue

from instar.package import Package
from instar.plan.costs import Costs
from instar_controller.clients import models
from instar_controller.clients.models import Surroundings
from instar_controller.clients.plans import PlanRepository
from instar_controller.clients.roll import Entry, Roll
from instar_controller.clients.weights import MODEL
from instar_controller.engines.enrolment import Enrolment, name_of
from instar_controller.engines.registry import Registry
from instar_controller.errors import NotFoundError, StoreError
from instar_controller.policies.estimates import PlanOffer
from instar_controller.ports import Store
from instar_controller.whisk import action as actions
from instar_controller.whisk import package as packages
from instar_controller.whisk import parameters
from instar_controller.whisk.action import Action
from instar_controller.whisk.document import Collection as Collected
from instar_controller.whisk.document import Key
from instar_controller.whisk.invocation import ContainerKey

logger = logging.getLogger(__name__)

CLOSE_S = 5.0  # for what is being looked at; then the process's end ends it


@dataclass(frozen=True, slots=True)
class Planned:
    """Every model that was read is planned with: so many actions have some, so many distinct ones, and so many plans
    there are between them."""

    actions: int
    models: int
    plans: int


@dataclass(frozen=True, slots=True)
class _Read:
    """What was found at a location; None if nothing can be."""

    location: str
    model: Package | None


class Follower:
    """Follows the actions of a store; a `ports.Plans`. `start` it, and `close` it before the store.

    `costs` is called once, by the follower's thread, and may take its time; if it knows none, nothing is planned.
    `on_planned` is told, by that thread, each time that it has caught up with what has happened.
    """

    def __init__(
        self,
        store: Store,
        repository: PlanRepository,
        costs: Callable[[], Costs | None],
        *,
        namespaces: Collection[str],
        surroundings: Surroundings,
        processes: int = 1,
        on_planned: Callable[[Planned], None] = lambda _: None,
    ) -> None:
        self._store = store
        self._repository = repository
        self._costs = costs
        self._namespaces = namespaces
        self._surroundings = surroundings
        self._processes = processes
        self._on_planned = on_planned
        self._is_closed = False
        self._enrolment: Enrolment | None = None
        self._events: SimpleQueue[Key | _Read | None] = SimpleQueue()  # None: look around
        self._locations: SimpleQueue[str | None] = SimpleQueue()
        self._reading: set[str] = set()  # the thread's own, as is what follows
        self._known: dict[str, Entry] = {}  # from an earlier time
        self._known_located: dict[str, str] = {}
        self._kept: Roll | None = None
        self._is_news = True  # since `on_planned` was told
        self._thread = threading.Thread(target=self._run, name="instar-follower", daemon=True)
        self._reader = threading.Thread(target=self._read_locations, name="instar-model-reader", daemon=True)

    def start(self) -> None:
        """Begin with all actions that are stored."""
        self._thread.start()

    def changed(self, key: Key) -> None:
        """The action or package of this key was written or deleted. Takes no time."""
        if not self._is_closed:
            self._events.put(key)

    def offer(self, donor: ContainerKey, job: ContainerKey) -> PlanOffer | None:
        """See `ports.Plans`."""
        enrolment = self._enrolment
        return None if enrolment is None else enrolment.offer(donor, job)

    def close(self) -> None:
        """Follow no more; whoever measures costs has been told to stop. What was planned is still offered."""
        self._is_closed = True
        self._events.put(None)
        self._locations.put(None)
        if self._thread.ident is not None:
            self._thread.join(CLOSE_S)

    def _run(self) -> None:
        try:
            costs = self._costs()
            if costs is not None:
                self._follow(costs)
        except Exception:
            logger.exception("no plans are made any more")
        self._is_closed = True

    def _follow(self, costs: Costs) -> None:
        registry = Registry(
            self._repository, costs, processes=self._processes, on_idle=lambda: self._events.put(None)
        )
        self._reader.start()
        with contextlib.closing(registry):
            self._enrolment = enrolment = Enrolment(registry, everywhere=self._surroundings.everywhere)
            self._begin(enrolment)
            while not self._is_closed:
                if self._events.empty():
                    self._settle(enrolment)
                match self._events.get():
                    case Key() as key:
                        self._is_news = True
                        self._take(key, enrolment)
                    case _Read() as read:
                        self._is_news = True
                        self._locate(read, enrolment)

    def _begin(self, enrolment: Enrolment) -> None:
        roll = self._repository.roll()
        if roll is not None:
            self._known = {entry.action: entry for entry in roll.entries}
            self._known_located = dict(roll.located)
        for namespace in self._namespaces:
            for document in self._store.list_documents(Collected.ACTIONS, namespace):
                self._take(document.key, enrolment)
        if not self._is_closed:
            registry = enrolment.registry
            self._repository.collect(models=registry.models, costs=[registry.costs_key])

    def _take(self, key: Key, enrolment: Enrolment) -> None:
        """Look at what is stored under a key now. One action's trouble does not cost the others their plans."""
        try:
            if key.collection is Collected.ACTIONS:
                self._take_action(key, enrolment)
                return
            for document in self._store.list_documents(Collected.ACTIONS, key.namespace, package=key.name):
                self._take_action(document.key, enrolment)
        except StoreError as error:
            logger.warning("the models of %s get no plans: %s", key, error)
        except Exception:
            logger.exception("the models of %s get no plans", key)

    def _take_action(self, key: Key, enrolment: Enrolment) -> None:
        if self._is_closed:
            return
        try:
            document = self._store.get(key)
        except NotFoundError:
            enrolment.strike(str(key))
            return
        action = actions.from_document(document, code="")
        entry = enrolment.entry(action.full_name)
        if entry is None or entry.revision != document.revision:
            entry = self._adopted(action, document.revision, enrolment.registry)
        if entry is None:
            try:
                code = self._store.get_code(key, document.revision) if action.exec.binary else ""
            except NotFoundError:  # written again since, so its key is on its way here again
                return
            entry = Entry(action.full_name, document.revision, _register(action.full_name, code, enrolment.registry))
        location = self._location(action)
        enrolment.enrol(replace(entry, location=location))
        if location is not None and location not in self._reading:
            digest = self._known_located.pop(location, None)
            if digest is not None and enrolment.registry.adopt(location, digest):
                enrolment.locate(location, digest)
            self._reading.add(location)
            self._locations.put(location)

    def _adopted(self, action: Action, revision: int, registry: Registry) -> Entry | None:
        """What was known of this very revision at an earlier time, if all its models are still kept."""
        entry = self._known.pop(action.full_name, None)
        if entry is None or entry.revision != revision:
            return None
        names = entry.archived.items()
        return entry if all(registry.adopt(name_of(entry.action, name), digest) for name, digest in names) else None

    def _location(self, action: Action) -> str | None:
        """Where the model lies that the function's environment names, as far as it depends on no request."""
        given = action.parameters
        if action.package:
            key = Key(Collected.PACKAGES, action.namespace, action.package)
            with contextlib.suppress(NotFoundError):
                given = parameters.merge(packages.from_document(self._store.get(key)).parameters, given)
        named = next((each for each in given if each.key == MODEL and each.init), None)
        text = self._surroundings.everywhere if named is None else parameters.environment_text(named.value)
        return (text or "").rstrip("/") or None

    def _read_locations(self) -> None:
        while (location := self._locations.get()) is not None and not self._is_closed:
            try:
                model = models.at(location, self._surroundings)
            except Exception:
                logger.exception("the model at %s gets no plans", location)
                model = None
            self._events.put(_Read(location, model))

    def _locate(self, read: _Read, enrolment: Enrolment) -> None:
        self._reading.discard(read.location)
        if read.model is None:
            return
        try:
            enrolment.locate(read.location, enrolment.registry.register(read.location, read.model))
        except StoreError as error:
            logger.warning("the model at %s gets no plans: %s", read.location, error)

    def _settle(self, enrolment: Enrolment) -> None:
        """Everything that has come was seen to."""
        roll = enrolment.roll()
        if roll != self._kept:
            try:
                self._repository.put_roll(roll)
            except StoreError as error:
                logger.warning("which action has which models is not kept: %s", error)
            self._kept = roll
        registry = enrolment.registry
        if self._is_news and registry.wait(0):
            self._is_news = False
            self._on_planned(Planned(enrolment.actions, len(registry.models), registry.plans))


def _register(action: str, code: str, registry: Registry) -> dict[str, str]:
    """The digests of the models in an action's archive, by name. Raises `StoreError`."""
    found = models.of_archive(code, whose=action) if code else {}
    return {name: registry.register(name_of(action, name), model) for name, model in found.items()}
