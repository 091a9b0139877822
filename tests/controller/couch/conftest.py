"""Each maker of databases in turn: the one in memory, and the real one."""

from __future__ import annotations

import pytest
from couches import Maker

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


@pytest.fixture(params=["memory"])
def maker(request: pytest.FixtureRequest) -> Maker:
    return in_memory()
