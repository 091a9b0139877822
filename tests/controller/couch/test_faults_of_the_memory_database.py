"""The trouble that a test can make in the database in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from activations import activation, id_of
from couches import action

from instar_controller.clients.memory_couch import MemoryEntities, MemoryRecords, MemorySubjects, Trouble
from instar_controller.errors import ConflictError, StoreError


def test_a_database_that_is_down_answers_nothing_until_it_is_back() -> None:
    entities = MemoryEntities()
    entities.database.put(action("guest/f"))
    entities.database.faults.go_down()
    for read in (
        lambda: entities.get("guest/f"),
        lambda: entities.attachment("guest/f", "code"),
        lambda: entities.changes("0", timeout_s=0, most=1),
    ):
        with pytest.raises(StoreError, match="is down"):
            read()
    entities.database.faults.come_back()
    assert entities.get("guest/f")["name"] == "f"


def test_a_refusal_does_nothing_and_a_lost_answer_does_what_was_asked() -> None:
    records = MemoryRecords()
    records.database.faults.on_next(Trouble.REFUSED, Trouble.LOST)
    with pytest.raises(StoreError, match="503"):
        records.put_activation(activation(1))
    assert records.database.documents() == {}
    with pytest.raises(StoreError, match="its answer was lost"):
        records.put_activation(activation(2))
    assert list(records.database.documents()) == [id_of(2)]
    records.put_activation(activation(3))
    assert records.database.faults.calls == 3


def test_a_call_waits_as_long_as_the_database_is_held() -> None:
    subjects = MemorySubjects()
    subjects.block("evil")
    with ThreadPoolExecutor(1) as pool:
        with subjects.database.faults.held():
            asked = pool.submit(subjects.blocked, ["evil", "guest"])
            subjects.database.faults.wait_for_calls(1)
            assert not asked.done()
        assert asked.result(60) == {"evil"}


def test_a_write_without_the_latest_revision_is_a_conflict() -> None:
    database = MemoryEntities().database
    first = database.put(action("guest/f"))
    second = database.put(action("guest/f", _rev=first))
    for revision in (None, first):
        fields = {} if revision is None else {"_rev": revision}
        with pytest.raises(ConflictError, match="guest/f"):
            database.put(action("guest/f", **fields))
    with pytest.raises(ConflictError):
        database.delete("guest/f", revision=first)
    with pytest.raises(ConflictError):
        database.put_attachment("guest/f", "code", b"", revision=first, content_type="text/plain")
    database.delete("guest/f", revision=second)
    assert database.put(action("guest/f")).startswith("4-")
