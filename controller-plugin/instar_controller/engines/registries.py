"""The registered models of a cluster: one `Registry` for each kind of device whose costs are known.

One rule: every model is in all of them, whichever came first. Of the plans only that they are there is remembered:
thousands of them would take more memory than all else, and who offers them reads them from the repository.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection

from instar import package
from instar.package import Package
from instar.plan.costs import Costs
from instar_controller.clients import plans
from instar_controller.clients.plans import Answer, KeptPlan
from instar_controller.engines.effort import Effort
from instar_controller.engines.registry import Registry
from instar_controller.engines.repository import Repository


class Registries:
    """A `registrar.Models`. Every method may be called from any thread. To be closed.

    `processes` plan at a time for each kind of device. `on_idle` is called by a thread of theirs whenever one has
    nothing more to do.
    """

    def __init__(
        self, repository: Repository, *, processes: int = 1, on_idle: Callable[[], None] = lambda: None
    ) -> None:
        self._repository = repository
        self._processes = processes
        self._on_idle = on_idle
        self._lock = threading.Lock()  # for what follows
        self._registries: dict[str, Registry] = {}  # by the key of their costs
        self._names: dict[str, str] = {}
        self._models: dict[str, bytes] = {}
        self._leaving: list[Registry] = []  # that are being closed, and plan a last batch
        self._past = Effort()  # of those that were

    @property
    def models(self) -> frozenset[str]:
        """Digests of the registered models."""
        with self._lock:
            return frozenset(self._names.values())

    @property
    def costs_keys(self) -> frozenset[str]:
        """The keys of the costs that are planned for."""
        with self._lock:
            return frozenset(self._registries)

    @property
    def plans(self) -> int:
        """How many plans there are."""
        return sum(registry.plans for registry in self._all())

    @property
    def effort(self) -> Effort:
        """What was planned so far, for all kinds of devices."""
        with self._lock:
            registries = [*self._registries.values(), *self._leaving]
            return sum((registry.effort for registry in registries), self._past)

    def plan_for(self, costs: Collection[Costs]) -> None:
        """Have plans made at these costs, and at no others."""
        wanted = {plans.key_of(each): each for each in costs}
        with self._lock:
            gone = [self._registries.pop(key) for key in list(self._registries) if key not in wanted]
            self._leaving += gone
            for key in [key for key in wanted if key not in self._registries]:
                registry = Registry(
                    self._repository,
                    wanted[key],
                    processes=self._processes,
                    on_idle=self._on_idle,
                    remember=without_plan,
                )
                for name, digest in self._names.items():
                    registry.enter(name, digest, self._models[digest])
                self._registries[key] = registry
        for registry in gone:
            registry.close()
            with self._lock:
                self._leaving.remove(registry)
                self._past += registry.effort

    def register(self, name: str, model: Package) -> str:
        """See `registrar.Models`."""
        digest, model_json = model.digest, package.encode(model)
        with self._lock:
            is_new = digest not in self._models
        if is_new:
            self._repository.put_model(digest, model_json)
        self._enter(name, digest, model_json)
        return digest

    def adopt(self, name: str, digest: str) -> bool:
        """See `registrar.Models`."""
        with self._lock:
            model_json = self._models.get(digest)
        if model_json is None:
            model_json = self._repository.model_json(digest)
        if model_json is None:
            return False
        self._enter(name, digest, model_json)
        return True

    def unregister(self, name: str) -> None:
        """See `enrolment.Models`."""
        with self._lock:
            self._forget(name)
            for registry in self._registries.values():
                registry.unregister(name)

    def answer_for(self, source: str, target: str) -> Answer | None:
        """See `enrolment.Models`. Nobody is offered plans here."""
        return None

    def is_idle(self) -> bool:
        """Whether nothing is left to plan."""
        return all(registry.wait(0) for registry in self._all())

    def close(self) -> None:
        """Plan no more."""
        for registry in self._all():
            registry.close()

    def __repr__(self) -> str:
        with self._lock:
            return f"<Registries {len(self._models)} models, {len(self._registries)} kinds of devices>"

    def _all(self) -> list[Registry]:
        with self._lock:
            return list(self._registries.values())

    def _enter(self, name: str, digest: str, model_json: bytes) -> None:
        with self._lock:
            if self._names.get(name) != digest:
                self._forget(name)
                self._names[name] = digest
                self._models.setdefault(digest, model_json)
            for registry in self._registries.values():
                registry.enter(name, digest, model_json)

    def _forget(self, name: str) -> None:
        digest = self._names.pop(name, None)
        if digest is not None and digest not in self._names.values():
            del self._models[digest]


def without_plan(answer: Answer) -> Answer:
    """What is estimated, and that there is a plan; not the plan itself."""
    return KeptPlan(b"", answer.estimate) if isinstance(answer, KeptPlan) else answer
