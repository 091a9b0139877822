"""A reader's place in a feed of changes: it moves when everything before it was seen to, and is given up where the
database does not know it."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from instar_controller.cluster_ports import Change, Changes
from instar_controller.engines.feed import ANEW_S, AT_A_TIME, REFUSALS, Feed
from instar_controller.errors import StoreError


class Script:
    """A database with these documents, whose places look as CouchDB's do."""

    def __init__(self, *ids: str) -> None:
        self.ids = list(ids)
        self.deleted: set[str] = set()
        self.refused: set[str] = set()
        self.is_down = False
        self.asked: list[str] = []

    def changes(self, since: str, *, timeout_s: float, most: int) -> Changes:
        self.asked.append(since)
        if self.is_down or since in self.refused:
            raise StoreError(f"{since} is refused, as its test wants it")
        begin = len(self.ids) if since == "now" else int(since.partition("-")[0])
        some = self.ids[begin : begin + most]
        entries = [Change(id, "1-a", id in self.deleted, None) for id in some]
        return Changes(entries, f"{begin + len(some) if some else min(begin, len(self.ids))}-g1AAAA")


def names(changes: Sequence[Change]) -> list[str]:
    return [change.id for change in changes]


def test_a_place_moves_only_when_its_reader_says_so() -> None:
    feed = Feed(Script("a", "b"), "0")
    batch = feed.read(timeout_s=0)
    assert names(batch.changes) == names(feed.read(timeout_s=0).changes) == ["a", "b"]
    feed.advance(batch)
    assert feed.position == "2-g1AAAA"
    assert names(feed.read(timeout_s=0).changes) == []


def test_reading_from_the_beginning_ends_with_all_documents_that_there_are() -> None:
    script = Script(*(f"d{number}" for number in range(AT_A_TIME + 5)))
    script.deleted = {"d3", "d203"}
    feed = Feed(script, None)
    first = feed.read(timeout_s=0)
    assert first.present is None
    feed.advance(first)
    assert feed.is_anew
    last = feed.read(timeout_s=0)
    assert last.present == set(script.ids) - script.deleted
    feed.advance(last)
    assert not feed.is_anew


def test_who_has_a_place_is_not_told_of_what_was_before() -> None:
    feed = Feed(Script("a", "b", "c"), "2-x")
    batch = feed.read(timeout_s=0)
    assert names(batch.changes) == ["c"]
    assert batch.present is None


def test_a_database_that_ends_before_the_place_is_read_anew() -> None:
    feed = Feed(Script("a"), "17-x")
    feed.advance(feed.read(timeout_s=0))
    assert feed.is_anew
    batch = feed.read(timeout_s=0)
    assert batch.present == {"a"}


def test_replicas_that_count_differently_have_it_read_anew_only_now_and_then() -> None:
    now_s = 1000.0
    script = Script("a", "b", "c")
    feed = Feed(script, "5-x", now_s=lambda: now_s)
    feed.advance(feed.read(timeout_s=0))
    feed.advance(feed.read(timeout_s=0))
    feed.position = "5-x"
    script.asked.clear()
    for _ in range(3):
        batch = feed.read(timeout_s=0)
        assert batch.present is None and not feed.is_anew
    assert "0" not in script.asked
    now_s += ANEW_S
    feed.advance(feed.read(timeout_s=0))
    assert feed.is_anew


def test_a_place_that_is_refused_though_the_database_answers_is_given_up() -> None:
    script = Script("a")
    script.refused = {"nonsense"}
    feed = Feed(script, "nonsense")
    for _ in range(REFUSALS):
        with pytest.raises(StoreError):
            feed.read(timeout_s=0)
    assert names(feed.read(timeout_s=0).changes) == ["a"]


def test_a_database_that_is_down_costs_no_place() -> None:
    script = Script("a", "b")
    script.is_down = True
    feed = Feed(script, "1-x")
    for _ in range(REFUSALS * 3):
        with pytest.raises(StoreError):
            feed.read(timeout_s=0)
    script.is_down = False
    assert names(feed.read(timeout_s=0).changes) == ["b"]
    assert "0" not in script.asked
