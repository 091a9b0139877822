"""The contract of `Entities.changes`: each document once, as it is at the end, from wherever one left off."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from couches import Maker, action

from instar_controller.clients.memory_couch import MemoryEntities
from instar_controller.errors import StoreError

WAIT_S = 45.0  # for what is sure to happen


def test_every_document_is_told_of_once_as_it_is_at_the_end(maker: Maker) -> None:
    a = maker.put(action("guest/a"))
    b = maker.put(action("guest/b"))
    a = maker.put(action("guest/a", "2", _rev=a))
    changes = maker.entities.changes("0", timeout_s=0, most=100)
    assert [(change.id, change.revision, change.is_deleted) for change in changes.entries] == [
        ("guest/b", b, False),
        ("guest/a", a, False),
    ]
    assert changes.entries[1].document == {**action("guest/a", "2"), "_rev": a}


def test_a_deleted_document_is_told_of_without_its_body(maker: Maker) -> None:
    deletion = maker.delete("guest/a", maker.put(action("guest/a")))
    (change,) = maker.entities.changes("0", timeout_s=0, most=100).entries
    assert (change.id, change.revision, change.is_deleted, change.document) == ("guest/a", deletion, True, None)


def test_a_reader_goes_on_where_it_left_off(maker: Maker) -> None:
    for number in range(10):
        maker.put(action(f"guest/{number}"))
    since, seen = "0", []
    while (changes := maker.entities.changes(since, timeout_s=0, most=4)).entries:
        assert len(changes.entries) <= 4
        since = changes.next
        seen += [change.id for change in changes.entries]
    assert seen == [f"guest/{number}" for number in range(10)]
    maker.put(action("guest/late"))
    assert [change.id for change in maker.entities.changes(since, timeout_s=0, most=4).entries] == ["guest/late"]


def test_from_now_on_only_what_is_new_is_told(maker: Maker) -> None:
    maker.put(action("guest/old"))
    now = maker.entities.changes("now", timeout_s=0, most=10)
    assert now.entries == ()
    maker.put(action("guest/new"))
    assert [change.id for change in maker.entities.changes(now.next, timeout_s=0, most=10).entries] == ["guest/new"]


def test_a_reader_waits_for_news(maker: Maker) -> None:
    maker.put(action("guest/old"))
    since = maker.entities.changes("0", timeout_s=0, most=10).next
    begun = threading.Event()

    def read() -> list[str]:
        begun.set()
        return [change.id for change in maker.entities.changes(since, timeout_s=2 * WAIT_S, most=10).entries]

    with ThreadPoolExecutor(1) as pool:
        news = pool.submit(read)
        assert begun.wait(WAIT_S)
        maker.put(action("guest/new"))
        assert news.result(WAIT_S) == ["guest/new"]


def test_a_reader_that_has_waited_in_vain_comes_back_with_nothing(maker: Maker) -> None:
    maker.put(action("guest/old"))
    since = maker.entities.changes("0", timeout_s=0, most=10).next
    changes = maker.entities.changes(since, timeout_s=0.3, most=10)
    assert changes.entries == ()
    maker.put(action("guest/new"))
    assert [change.id for change in maker.entities.changes(changes.next, timeout_s=0, most=10).entries] == [
        "guest/new"
    ]


def test_a_burst_of_a_thousand_updates_is_read_in_parts(maker: Maker) -> None:
    revisions = {number: maker.put(action(f"guest/{number}")) for number in range(100)}
    for round in range(1, 10):
        for number, revision in revisions.items():
            revisions[number] = maker.put(action(f"guest/{number}", f"{round}", _rev=revision))
    since, seen = "0", []
    while (changes := maker.entities.changes(since, timeout_s=0, most=30)).entries:
        since = changes.next
        seen += [(change.id, change.revision) for change in changes.entries]
    assert sorted(seen) == sorted((f"guest/{number}", revision) for number, revision in revisions.items())


def test_a_place_that_the_feed_does_not_know_is_refused(maker: Maker) -> None:
    if not isinstance(maker.entities, MemoryEntities):
        pytest.skip("pouchdb-server takes any place for one; what CouchDB answers is tested by its status, 400")
    with pytest.raises(StoreError):
        maker.entities.changes("nowhere", timeout_s=0, most=10)
