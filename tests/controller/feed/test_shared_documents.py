"""What a database of documents promises that several may write, in memory and on a server."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from faulty_proxy import Answer, CutAfter, FaultyProxy
from sharing import WAIT_S, Cluster

from instar_controller.clients.couch.documents import AT_A_TIME, CouchDocuments
from instar_controller.clients.notes import Note, Notes
from instar_controller.errors import ConflictError, StoreError


def test_what_is_written_is_found_and_what_is_deleted_is_not(cluster: Cluster) -> None:
    documents = cluster.documents()
    first, second = documents.put([{"_id": "a:1", "n": 1}, {"_id": "a:2", "text": "é «»\n"}])
    found = documents.find(["a:1", "a:2", "a:3"])
    assert found == {
        "a:1": {"_id": "a:1", "_rev": first, "n": 1},
        "a:2": {"_id": "a:2", "_rev": second, "text": "é «»\n"},
    }
    (gone,) = documents.put([{"_id": "a:1", "_rev": first, "_deleted": True}])
    assert gone is not None
    assert set(documents.find(["a:1", "a:2"])) == {"a:2"}
    (again,) = documents.put([{"_id": "a:1", "n": 3}])
    assert again is not None
    assert documents.find(["a:1"])["a:1"]["n"] == 3


def test_a_document_is_written_only_over_the_revision_that_was_read(cluster: Cluster) -> None:
    documents = cluster.documents()
    (first,) = documents.put([{"_id": "a", "n": 1}])
    late, new = documents.put([{"_id": "a", "n": 2}, {"_id": "b", "n": 2}])
    assert late is None
    assert new is not None
    assert documents.put([{"_id": "a", "_rev": first, "n": 3}]) != [None]
    (stale,) = documents.put([{"_id": "a", "_rev": first, "n": 4}])
    assert stale is None
    assert documents.find(["a"])["a"]["n"] == 3


def test_ids_are_found_by_how_they_begin(cluster: Cluster) -> None:
    documents = cluster.documents()
    names = ["plan:a:b", "plan:a:c", "plan:b", "plan", "pla", "plan:a:ü", "plans:a"]
    revisions = dict(zip(names, documents.put([{"_id": name} for name in names]), strict=True))
    assert documents.under("plan:a:") == {name: revisions[name] for name in names if name.startswith("plan:a:")}
    assert documents.under("nothing") == {}


def test_many_documents_are_written_and_read_in_parts(cluster: Cluster) -> None:
    documents = cluster.documents()
    names = [f"d:{number}" for number in range(AT_A_TIME + 50)]
    assert None not in documents.put([{"_id": name, "name": name} for name in names])
    assert {id: document["name"] for id, document in documents.find(names).items()} == {name: name for name in names}
    assert len(documents.under("d:")) == len(names)


def test_changes_tell_what_is_written_and_deleted_each_once(cluster: Cluster) -> None:
    documents = cluster.documents()
    begin = documents.changes("now", timeout_s=0, most=10).next
    (first,) = documents.put([{"_id": "a", "n": 1}])
    documents.put([{"_id": "b"}])
    documents.put([{"_id": "a", "_rev": first, "_deleted": True}])
    found = documents.changes(begin, timeout_s=0, most=10)
    assert [(change.id, change.is_deleted, change.document) for change in found.entries] == [
        ("b", False, None),
        ("a", True, None),
    ]
    assert documents.changes(found.next, timeout_s=0, most=10).entries in ((), [])


def test_waiting_for_changes_ends_with_one(cluster: Cluster) -> None:
    documents = cluster.documents()
    begin = documents.changes("now", timeout_s=0, most=10).next
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(documents.changes, begin, timeout_s=2 * WAIT_S, most=10)
        cluster.documents().put([{"_id": "a"}])
        assert [change.id for change in waiting.result(WAIT_S).entries] == ["a"]


def test_many_may_use_it_first_at_once(cluster: Cluster) -> None:
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda n: cluster.documents().put([{"_id": f"d{n}"}]), range(8)))
    assert all(revision is not None for (revision,) in results)
    assert len(cluster.stored()) == 8


def test_of_two_who_write_a_note_one_learns_of_it(cluster: Cluster) -> None:
    notes = Notes(cluster.documents())
    assert notes.read("claim:x") is None
    revision = notes.write("claim:x", {"holder": "a"}, replaces=None)
    with pytest.raises(ConflictError, match="claim:x"):
        notes.write("claim:x", {"holder": "b"}, replaces=None)
    assert notes.read("claim:x") == Note({"holder": "a"}, revision)
    notes.write("claim:x", {"holder": "b"}, replaces=revision)
    with pytest.raises(ConflictError):
        notes.write("claim:x", {"holder": "c"}, replaces=revision)
    found = notes.read("claim:x")
    assert found is not None
    assert notes.under("claim:") == {"claim:x": found}


DOCUMENTS: list[dict[str, Any]] = [
    {"_id": "model:d1", "type": "model", "digest": "d1", "data": "AAAA"},
    {"_id": "plan:k:d1:d2", "type": "plan", "costs": "k", "source": "d1", "target": "d2", "plan": True}
    | {"transform_ns": 2_000_000, "load_ns": 9_000_000, "data": ""},
    {"_id": "plan:k:d2:d1", "type": "plan", "costs": "k", "source": "d2", "target": "d1", "plan": False}
    | {"transform_ns": 9_000_000, "load_ns": 1_000_000, "data": ""},
    {"_id": "action:guest/a", "type": "action", "action": "guest/a", "archived": {"m": "d1"}, "located": "d2"},
    {"_id": "costs:cpu", "type": "costs", "device": "cpu", "key": "k", "rates_ns": {}},
    {"_id": "claim:registry", "type": "claim", "holder": None},
]


@pytest.mark.system
def test_the_views_show_what_there_is(couch_cluster: Cluster) -> None:
    documents = couch_cluster.documents()
    assert isinstance(documents, CouchDocuments)
    assert None not in documents.put(DOCUMENTS)

    def rows(name: str, **query: str) -> list[tuple[Any, Any]]:
        return [(row["key"], row["value"]) for row in documents.view(name, query=query)]

    plain = {"reduce": "false"}
    assert rows("plans", **plain) == [(["k", "d1", "d2"], [2, 9, True]), (["k", "d2", "d1"], [9, 1, False])]
    assert rows("plans", group_level="1") == [(["k"], 2)]
    assert rows("actions", **plain) == [("guest/a", 2)]
    assert rows("models", **plain) == [("d1", 4)]
    assert rows("costs") == [("cpu", "k")]


@pytest.mark.system
def test_a_failure_of_the_server_is_an_error_of_ours_and_the_next_call_works(
    couch_cluster: Cluster, faulty_database: FaultyProxy
) -> None:
    documents = couch_cluster.documents()
    documents.put([{"_id": "a"}])
    faulty_database.on_next(Answer(500), path="_all_docs")
    with pytest.raises(StoreError, match="500"):
        documents.find(["a"])
    faulty_database.on_next(Answer(200, text="<html>"), path="_bulk_docs")
    with pytest.raises(StoreError, match="no JSON"):
        documents.put([{"_id": "b"}])
    faulty_database.on_next(CutAfter(), path="_bulk_docs")
    with pytest.raises(StoreError, match="gave no answer"):
        documents.put([{"_id": "c"}])
    assert set(documents.find(["a", "b", "c"])) == {"a", "c"}  # what was done nobody knew
    faulty_database.on_next(Answer(200, text='{"rows": 7}'), path="_all_docs")
    with pytest.raises(StoreError, match="rows"):
        documents.under("a")
    assert set(documents.under("a")) == {"a"}
