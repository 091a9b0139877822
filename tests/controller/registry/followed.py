"""Actions in a store, written through the API as users do, and a follower of them."""

from __future__ import annotations

import base64
import io
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from registered import CHEAP, WAIT_S

from instar import package
from instar.package import Package
from instar.plan import plans
from instar.plan.costs import Costs
from instar_controller.api import identities
from instar_controller.api.app import create_app
from instar_controller.api.services import Services
from instar_controller.clients.clock import SystemClock
from instar_controller.clients.memory import MemoryStore
from instar_controller.clients.models import Surroundings
from instar_controller.clients.plans import PlanRepository
from instar_controller.engines.follower import Follower, Planned
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.document import Collection, Key
from instar_controller.whisk.invocation import ContainerKey, Invocation

NO_SURROUNDINGS = Surroundings()


class Nobody:
    """An `Invocations` of a server that carries nothing out."""

    def submit(self, invocation: Invocation) -> Future[Activation]:
        raise AssertionError("nothing is invoked here")

    def invokers(self) -> Mapping[str, str]:
        return {}


class Followed:
    """A store with an API over it, and whoever follows it: nobody until `follow`."""

    def __init__(self, root: Path, store: MemoryStore) -> None:
        self.store = store
        self.repository = PlanRepository(root)
        self.planned: SimpleQueue[Planned] = SimpleQueue()
        clock = SystemClock()
        self._auth = identities.create(store, clock, "guest").api_key
        services = Services(store, Nobody(), clock, on_change=lambda key: self._on_change(key))
        self._client = create_app(services).test_client()
        self._on_change: Callable[[Key], None] = lambda _: None

    def follow(self, costs: Callable[[], Costs | None] = lambda: CHEAP, **options: Any) -> Follower:
        """To be closed by the caller."""
        options.setdefault("surroundings", NO_SURROUNDINGS)
        follower = Follower(
            self.store, self.repository, costs, namespaces=["guest"], on_planned=self.planned.put, **options
        )
        self._on_change = follower.changed
        follower.start()
        return follower

    def await_planned(self, actions: int) -> Planned:
        """The follower has caught up, and so many actions have models."""
        while (planned := self.planned.get(timeout=WAIT_S)).actions != actions:
            pass
        return planned

    def request(self, method: str, path: str, body: object = None) -> int:
        sent = {"Authorization": "Basic " + base64.b64encode(self._auth.encode()).decode()}
        answer = self._client.open(f"/api/v1/namespaces/_/{path}", method=method, json=body, headers=sent)
        return answer.status_code

    def put(self, name: str, code: str, *, variables: Mapping[str, str] | None = None) -> None:
        """Create or update an action; `variables` are its init parameters."""
        given = [{"key": key, "value": value, "init": True} for key, value in (variables or {}).items()]
        body = {"exec": {"kind": "pytorch:2", "code": code, "main": "main"}, "parameters": given}
        assert self.request("PUT", f"actions/{name}?overwrite=true", body) == 200

    def delete(self, name: str) -> None:
        assert self.request("DELETE", f"actions/{name}") == 200

    def key(self, name: str, **variables: str) -> ContainerKey:
        """A container of an action as it is stored now."""
        group, _, last = name.rpartition("/")
        revision = self.store.get(Key(Collection.ACTIONS, "guest", last, group)).revision
        return ContainerKey("guest", f"guest/{name}", revision, tuple(sorted(variables.items())))


def archive(*models: Package, **files: bytes) -> str:
    """An action's code with these models, by the names `m0`, `m1`, and so on, and further files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as writer:
        writer.writestr("__main__.py", "def main(args):\n    return args\n")
        for number, model in enumerate(models):
            writer.writestr(f"m{number}/model.json", package.encode(model))
        for name, data in files.items():
            writer.writestr(f"{name}/model.json", data)
    return base64.b64encode(packed.getvalue()).decode()


def ends(follower: Follower, donor: ContainerKey, job: ContainerKey) -> tuple[str, str] | None:
    """The models between which a plan is offered."""
    offer = follower.offer(donor, job)
    if offer is None:
        return None
    plan = plans.decode(zlib.decompress(offer.plan))
    assert (plan.estimate.transform_ns / 1e6, plan.estimate.load_ns / 1e6) == (offer.transform_ms, offer.load_ms)
    return plan.source, plan.target


def digests_of(models: Sequence[Package]) -> list[str]:
    return [model.digest for model in models]
