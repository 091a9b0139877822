"""Each maker of databases in turn: the one in memory, and the real one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from couches import Maker
from databases import PASSWORD, USERNAME, Databases, DatabaseServer

from instar_controller.clients.clock import SystemClock
from instar_controller.clients.couch.connection import Connection, CouchSettings
from instar_controller.clients.couch.database import Database
from instar_controller.clients.couch.entities import CouchEntities
from instar_controller.clients.couch.records import CouchRecords
from instar_controller.clients.couch.subjects import CouchSubjects
from instar_controller.clients.memory_couch import MemoryDatabase, MemoryEntities, MemoryRecords, MemorySubjects


def in_memory() -> Maker:
    entities, subjects, records = MemoryDatabase(), MemoryDatabase(), MemoryDatabase()
    return Maker(
        MemoryEntities(entities),
        MemorySubjects(subjects),
        MemoryRecords(records),
        put=entities.put,
        delete=lambda id, revision: entities.delete(id, revision=revision),
        attach=lambda id, revision, name, content: entities.put_attachment(
            id, name, content, revision=revision, content_type="text/plain; charset=UTF-8"
        ),
        put_subject=subjects.put,
        stored_records=records.documents,
    )


def over_http(databases: Databases, connection: Connection) -> Maker:
    server = databases.server
    return Maker(
        CouchEntities(Database(connection, databases.entities)),
        CouchSubjects(Database(connection, databases.subjects)),
        CouchRecords(Database(connection, databases.activations), SystemClock()),
        put=lambda document: server.put(databases.entities, document),
        delete=lambda id, revision: server.delete(databases.entities, id, revision),
        attach=lambda id, revision, name, content: server.attach(databases.entities, id, revision, name, content),
        put_subject=lambda document: server.put(databases.subjects, document),
        stored_records=lambda: server.documents(databases.activations),
    )


@pytest.fixture
def connection(database_server: DatabaseServer) -> Iterator[Connection]:
    """To the server, on the direct way."""
    settings = CouchSettings(port=database_server.port, username=USERNAME, password=PASSWORD)
    with contextlib.closing(Connection(settings)) as made:
        yield made


@pytest.fixture(params=["memory", pytest.param("couch", marks=pytest.mark.system)])
def maker(request: pytest.FixtureRequest) -> Maker:
    if request.param == "memory":
        return in_memory()
    return over_http(request.getfixturevalue("databases"), request.getfixturevalue("connection"))
