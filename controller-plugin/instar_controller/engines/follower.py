"""Keeps the registry of models in step with the stored actions.

One rule: nobody waits for it. Who has written an action or a package drops its key here and goes on; one thread
reads what it now is and hands it to the `registrar`.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from queue import SimpleQueue

from instar.plan.costs import Costs
from instar_controller.clients.models import Surroundings
from instar_controller.clients.plans import PlanRepository
from instar_controller.clients.roll import Roll
from instar_controller.engines.registrar import Read, Registrar, Stored
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
from instar_controller.whisk.parameters import Parameters

logger = logging.getLogger(__name__)

CLOSE_S = 5.0  # for what is being looked at; then the process's end ends it


@dataclass(frozen=True, slots=True)
class Planned:
    """Every model that was read is planned with: so many actions have some, so many distinct ones, and so many plans
    there are between them."""

    actions: int
    models: int
    plans: int


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
        self._registrar: Registrar | None = None
        self._events: SimpleQueue[Key | Read | None] = SimpleQueue()  # None: look around
        self._kept: Roll | None = None  # the thread's own, as is what follows
        self._is_news = True  # since `on_planned` was told
        self._thread = threading.Thread(target=self._run, name="instar-follower", daemon=True)

    def start(self) -> None:
        """Begin with all actions that are stored."""
        self._thread.start()

    def changed(self, key: Key) -> None:
        """The action or package of this key was written or deleted. Takes no time."""
        if not self._is_closed:
            self._events.put(key)

    def offer(self, donor: ContainerKey, job: ContainerKey) -> PlanOffer | None:
        """See `ports.Plans`."""
        registrar = self._registrar
        return None if registrar is None else registrar.enrolment.offer(donor, job)

    def close(self) -> None:
        """Follow no more; whoever measures costs has been told to stop. What was planned is still offered."""
        self._is_closed = True
        self._events.put(None)
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
        registrar = Registrar(registry, self._surroundings, roll=self._repository.roll(), on_read=self._events.put)
        registrar.start()
        with contextlib.closing(registry), contextlib.closing(registrar):
            self._registrar = registrar
            self._begin(registrar, registry)
            while not self._is_closed:
                if self._events.empty():
                    self._settle(registrar, registry)
                match self._events.get():
                    case Key() as key:
                        self._is_news = True
                        self._take(key, registrar)
                    case Read() as read:
                        self._is_news = True
                        self._locate(read, registrar)

    def _begin(self, registrar: Registrar, registry: Registry) -> None:
        for namespace in self._namespaces:
            for document in self._store.list_documents(Collected.ACTIONS, namespace):
                self._take(document.key, registrar)
        if not self._is_closed:
            self._repository.collect(models=registry.models, costs=[registry.costs_key])

    def _take(self, key: Key, registrar: Registrar) -> None:
        """Look at what is stored under a key now. One action's trouble does not cost the others their plans."""
        try:
            if key.collection is Collected.ACTIONS:
                self._take_action(key, registrar)
                return
            for document in self._store.list_documents(Collected.ACTIONS, key.namespace, package=key.name):
                self._take_action(document.key, registrar)
        except StoreError as error:
            logger.warning("the models of %s get no plans: %s", key, error)
        except Exception:
            logger.exception("the models of %s get no plans", key)

    def _take_action(self, key: Key, registrar: Registrar) -> None:
        if self._is_closed:
            return
        try:
            document = self._store.get(key)
        except NotFoundError:
            registrar.strike(str(key))
            return
        action, revision = actions.from_document(document, code=""), document.revision

        def read() -> str:
            return self._store.get_code(key, revision) if action.exec.binary else ""

        registrar.take(Stored(action.full_name, revision, registrar.location(self._given(action)), read))

    def _locate(self, read: Read, registrar: Registrar) -> None:
        try:
            registrar.locate(read)
        except StoreError as error:
            logger.warning("the model at %s gets no plans: %s", read.location, error)

    def _given(self, action: Action) -> Parameters:
        """The parameters that a function gets whoever calls it."""
        if action.package:
            key = Key(Collected.PACKAGES, action.namespace, action.package)
            with contextlib.suppress(NotFoundError):
                package = packages.from_document(self._store.get(key))
                return parameters.merge(package.parameters, action.parameters)
        return action.parameters

    def _settle(self, registrar: Registrar, registry: Registry) -> None:
        """Everything that has come was seen to."""
        enrolment = registrar.enrolment
        roll = Roll(registry.costs_key, registry.costs.device, enrolment.entries, enrolment.located)
        if roll != self._kept:
            try:
                self._repository.put_roll(roll)
            except StoreError as error:
                logger.warning("which action has which models is not kept: %s", error)
            self._kept = roll
        if self._is_news and registry.wait(0):
            self._is_news = False
            self._on_planned(Planned(enrolment.actions, len(registry.models), registry.plans))
