"""A cluster's two databases as the tests need them: where actions are written, and where plans are shared; in memory,
or on a server. And processes that register models, and nodes that offer plans."""

from __future__ import annotations

import contextlib
import io
import random
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Any

from tests.plan.strategies import PLAUSIBLE, network

from instar import package
from instar.package import Package
from instar.plan import plans
from instar.plan.costs import Costs
from instar_controller.clients.models import Surroundings
from instar_controller.cluster_ports import Documents, Entities
from instar_controller.engines.follower import Planned
from instar_controller.engines.shared_plans import SharedPlans, SharedPlansSettings
from instar_controller.engines.shared_registry import RegistrySettings, SharedRegistry
from instar_controller.ports import Plans
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.manifest import DEFAULT

WAIT_S = 60.0  # for anything that is sure to happen
KIND = "pytorch:2"
# With these a plan is always made.
CHEAP = Costs("cheap", {**PLAUSIBLE.rates_ns, "transform": 0.0, "load": 1e9})
OTHER = Costs("other", {**CHEAP.rates_ns, "load": 2e9})
# Nobody is to lose the claim because the machine stood still for a moment.
QUICK = RegistrySettings(term_s=10.0, poll_s=0.1, first_pause_s=0.05, longest_pause_s=0.2)


class InThreads(ThreadPoolExecutor):
    """In the place of a pool of processes, which cannot reach what is in this one's memory."""

    def __init__(self, processes: int, *, mp_context: object, initializer: object) -> None:
        super().__init__(processes)


@dataclass
class Cluster:
    """The databases, and how a test writes actions as OpenWhisk does."""

    entities: Entities
    documents: Callable[[], Documents]  # as another process would open it
    put_document: Callable[[Mapping[str, Any]], str]
    attach: Callable[[str, str, str, bytes], str]  # id, revision, name, content
    delete_document: Callable[[str, str], str]
    stored: Callable[[], dict[str, Any]]  # what is in the shared database, by id
    fail: Callable[[], contextlib.AbstractContextManager[None]]  # both databases, as long as this lasts
    shared_name: str = ""  # of the shared database, where it is on a server
    revisions: dict[str, str] = field(default_factory=dict)
    planned: SimpleQueue[Planned] = field(default_factory=SimpleQueue)

    def put(
        self,
        name: str,
        *models: Package,
        kind: str = KIND,
        variables: Mapping[str, str] | None = None,
        notes: bytes = b"",
    ) -> None:
        """Create or update an action: its document first, then its code, as a controller does."""
        group, _, last = f"guest/{name}".rpartition("/")
        given = [{"key": key, "value": value, "init": True} for key, value in (variables or {}).items()]
        code = archive(*models, notes=notes)
        codename = f"{zlib.crc32(code):08x}-{len(self.revisions)}"
        document = {
            "_id": f"guest/{name}",
            "entityType": "action",
            "namespace": group,
            "name": last,
            "version": "0.0.1",
            "publish": False,
            "exec": {
                "kind": kind,
                "binary": True,
                "main": "main",
                "code": {"attachmentName": f"couch:{codename}", "attachmentType": "application/octet-stream"},
            },
            "parameters": given,
            "annotations": [],
            "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1},
            "updated": 1795314650605,
        }
        self._write(document)
        id = f"guest/{name}"
        self.revisions[id] = self.attach(id, self.revisions[id], codename, code)

    def touch(self, name: str, updated: int) -> None:
        """Update an action, but not its code."""
        id = f"guest/{name}"
        document = dict(self.entities.get(id))
        self.revisions[id] = self.put_document({**document, "updated": updated})

    def put_package(self, name: str, parameters: Sequence[Mapping[str, Any]] = ()) -> None:
        self._write(
            {
                "_id": f"guest/{name}",
                "entityType": "package",
                "namespace": "guest",
                "name": name,
                "binding": {},
                "parameters": list(parameters),
                "version": "0.0.1",
                "publish": False,
                "annotations": [],
                "updated": 1795314650605,
            }
        )

    def delete(self, name: str) -> None:
        id = f"guest/{name}"
        self.delete_document(id, self.revisions.pop(id))

    def key(self, name: str, **variables: str) -> ContainerKey:
        """A container of an action as it is stored now."""
        id = f"guest/{name}"
        return ContainerKey("guest", id, self.revisions[id], tuple(sorted(variables.items())))

    def registry(self, owner: str = "dispatcher0", **options: Any) -> SharedRegistry:
        """To be started and closed by the caller."""
        options.setdefault("settings", QUICK)
        options.setdefault("surroundings", Surroundings())
        options.setdefault("on_planned", self.planned.put)
        return SharedRegistry(
            options.pop("entities", self.entities),
            self.documents(),
            owner=owner,
            feed="whisks",
            manifest=DEFAULT,
            kinds=[KIND],
            **options,
        )

    def node(self, costs: Costs | None = CHEAP, **settings: Any) -> SharedPlans:
        """To be started and closed by the caller."""
        return SharedPlans(
            self.documents(),
            device="no kind" if costs is None else costs.device,
            measure=lambda: costs,
            settings=SharedPlansSettings(**{"poll_s": 0.2, **settings}),
        )

    def await_planned(self, actions: int) -> Planned:
        """So many actions have models, and everything is planned."""
        while (planned := self.planned.get(timeout=WAIT_S)).actions != actions:
            pass
        return planned

    def _write(self, document: Mapping[str, Any]) -> None:
        id = str(document["_id"])
        old = {"_rev": self.revisions[id]} if id in self.revisions else {}
        self.revisions[id] = self.put_document({**document, **old})


def models(count: int) -> list[Package]:
    """Networks of a family, the same ones every time."""
    rng = random.Random(11)
    return [network(rng) for _ in range(count)]


def archive(*models: Package, notes: bytes = b"") -> bytes:
    """An action's code with these models, by the names `m0`, `m1`, and so on."""
    known = _archives.get((notes, *(model.digest for model in models)))
    if known is None:
        known = _archives[notes, *(model.digest for model in models)] = _archive(models, notes)
    return known


_archives: dict[tuple[bytes | str, ...], bytes] = {}


def _archive(models: Sequence[Package], notes: bytes) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as writer:
        writer.writestr("__main__.py", b"def main(args):\n    return args\n" + notes)
        for number, model in enumerate(models):
            writer.writestr(f"m{number}/model.json", package.encode(model))
    return packed.getvalue()


def ends(node: Plans, donor: ContainerKey, job: ContainerKey) -> tuple[str, str] | None:
    """The models between which a plan is offered."""
    offer = node.offer(donor, job)
    if offer is None:
        return None
    plan = plans.decode(zlib.decompress(offer.plan))
    assert (plan.estimate.transform_ns / 1e6, plan.estimate.load_ns / 1e6) == (offer.transform_ms, offer.load_ms)
    return plan.source, plan.target


def await_offer(node: SharedPlans, donor: ContainerKey, job: ContainerKey, expected: tuple[str, str] | None) -> None:
    """Wait until this is what is offered."""
    if not node.wait_for(lambda: ends(node, donor, job) == expected, WAIT_S):
        raise AssertionError(f"{node!r} offers {ends(node, donor, job)}, not {expected}")


def until(is_so: Callable[[], bool]) -> None:
    """Wait for what nobody tells of."""
    until_s = time.monotonic() + WAIT_S
    while not is_so():
        assert time.monotonic() < until_s, "it does not come to that"
        time.sleep(0.02)


def ids(stored: Collection[str], prefix: str) -> list[str]:
    return sorted(id for id in stored if id.startswith(prefix))
