"""Clusters in memory and on a server; registries and nodes that are closed in the end."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator

import pytest
from databases import PASSWORD, USERNAME, Databases
from faulty_proxy import Answer, FaultyProxy
from sharing import CHEAP, Cluster, InThreads

from instar.plan.costs import Costs
from instar_controller.clients.couch.connection import Connection, CouchSettings
from instar_controller.clients.couch.database import Database
from instar_controller.clients.couch.documents import CouchDocuments
from instar_controller.clients.couch.entities import CouchEntities
from instar_controller.clients.device_costs import ClusterCosts
from instar_controller.clients.memory_couch import MemoryDatabase, MemoryEntities
from instar_controller.clients.memory_documents import MemoryDocuments
from instar_controller.clients.plan_views import DESIGN
from instar_controller.engines import registry as registries
from instar_controller.engines.shared_plans import SharedPlans
from instar_controller.engines.shared_registry import SharedRegistry


def in_memory() -> Cluster:
    whisks, shared = MemoryDatabase(), MemoryDatabase()
    documents = MemoryDocuments(shared)

    @contextlib.contextmanager
    def fail() -> Iterator[None]:
        for database in (whisks, shared):
            database.faults.go_down()
        yield
        for database in (whisks, shared):
            database.faults.come_back()

    return Cluster(
        MemoryEntities(whisks),
        lambda: documents,
        put_document=whisks.put,
        attach=lambda id, revision, name, content: whisks.put_attachment(
            id, name, content, revision=revision, content_type="application/octet-stream"
        ),
        delete_document=lambda id, revision: whisks.delete(id, revision=revision),
        stored=lambda: dict(shared.documents()),
        fail=fail,
    )


def on_a_server(databases: Databases, proxy: FaultyProxy, name: str) -> Cluster:
    server = databases.server
    settings = CouchSettings(port=proxy.port, username=USERNAME, password=PASSWORD)
    return Cluster(
        CouchEntities(Database(Connection(settings), databases.entities)),
        lambda: CouchDocuments(settings, name, DESIGN),
        put_document=lambda document: server.put(databases.entities, document),
        attach=lambda id, revision, name, content: server.attach(databases.entities, id, revision, name, content),
        delete_document=lambda id, revision: server.delete(databases.entities, id, revision),
        stored=lambda: server.documents(name),
        fail=lambda: proxy.from_now_on(Answer(503)),
        shared_name=name,
    )


@pytest.fixture
def memory_cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr(registries, "ProcessPoolExecutor", InThreads)
    return in_memory()


@pytest.fixture
def couch_cluster(databases: Databases, faulty_database: FaultyProxy) -> Iterator[Cluster]:
    name = f"test_{secrets.token_hex(4)}_plans"
    yield on_a_server(databases, faulty_database, name)
    with contextlib.suppress(OSError):  # nobody may have made it
        databases.server.ask("DELETE", name)


@pytest.fixture(params=["memory", pytest.param("couch", marks=pytest.mark.system)])
def cluster(request: pytest.FixtureRequest) -> Cluster:
    """In memory, and on a server with processes that plan."""
    made = request.getfixturevalue(f"{request.param}_cluster")
    assert isinstance(made, Cluster)
    return made


@pytest.fixture
def begin() -> Iterator[Callable[..., SharedRegistry | SharedPlans]]:
    """Starts registries and nodes, and closes them in the end."""
    with contextlib.ExitStack() as stack:

        def start(made: SharedRegistry | SharedPlans) -> SharedRegistry | SharedPlans:
            stack.callback(made.close)
            made.start()
            return made

        yield start


@pytest.fixture
def published(cluster: Cluster) -> Costs:
    """The costs of one kind of device, which a node of this cluster has published."""
    return ClusterCosts(cluster.documents()).publish(CHEAP)
