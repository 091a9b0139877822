"""`Entities` over CouchDB: actions are read, and their changes followed.

One rule: a document that is returned is of the revision that was asked for. CouchDB shows a superseded revision until
it is compacted away; for us it is gone at once, as it is for the stock invoker.
"""

from __future__ import annotations

import time
from collections.abc import Mapping

from instar_controller.clients.couch.database import Database
from instar_controller.cluster_ports import Change, Changes
from instar_controller.errors import NotFoundError, StoreError
from instar_controller.whisk.values import Json, JsonObject

_GRACE_S = 1.0  # for CouchDB to end a poll that nothing came of


class CouchEntities:
    """See `cluster_ports.Entities`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, id: str, *, revision: str | None = None) -> JsonObject:
        document = self._database.get(id)
        if revision not in (None, document.get("_rev")):
            raise NotFoundError(f"{self._database}: {id} is of revision {document.get('_rev')}, not {revision}")
        return document

    def attachment(self, id: str, name: str, *, revision: str | None = None) -> bytes:
        return self._database.attachment(id, name, revision=revision)

    def changes(self, since: str, *, timeout_s: float, most: int) -> Changes:
        news = self._read(since, most)
        if news.entries or timeout_s <= 0:
            return news
        self._wait(news.next, timeout_s)
        return self._read(news.next, most)

    def _read(self, since: str, most: int) -> Changes:
        """The next changes of entities. Those of design documents are none: a page full of them is passed over."""
        while True:
            query = {"since": since, "limit": str(most), "include_docs": "true"}
            answer = self._database.asked("_changes", query=query)
            rows = answer.get("results")
            if not isinstance(rows, list) or "last_seq" not in answer:
                raise StoreError(f"{self._database}: reading the changes: the answer has no results or no last_seq")
            since = _place(answer["last_seq"])
            entries = tuple(change for row in rows if not (change := _change(row)).id.startswith("_design/"))
            if entries or not rows:
                return Changes(entries, since)

    def _wait(self, since: str, timeout_s: float) -> None:
        """Return when there is news, or time is up. What it is, is read afterwards: a poll tells of one change."""
        query = {"since": since, "limit": "1", "feed": "longpoll", "timeout": str(round(timeout_s * 1000))}
        begun = time.monotonic()
        try:
            self._database.asked("_changes", query=query, timeout_s=timeout_s + _GRACE_S)
        except StoreError:
            # Some proxies let a poll hang that CouchDB has ended. Whether it is there at all, reading will show.
            if time.monotonic() - begun < timeout_s:
                raise


def _change(row: Json) -> Change:
    fields = row if isinstance(row, Mapping) else {}
    id, revisions, document = fields.get("id"), fields.get("changes"), fields.get("doc")
    match revisions:
        case [{"rev": str(revision)}, *_] if isinstance(id, str):
            is_deleted = fields.get("deleted") is True
            shown = document if isinstance(document, Mapping) and not is_deleted else None
            return Change(id, revision, is_deleted, shown)
        case _:
            raise StoreError(f"the feed of changes has an entry that is none: {str(row)[:200]}")


def _place(sequence: Json) -> str:
    """Where in the feed one is: an opaque text; with CouchDB 1 and PouchDB a number."""
    return sequence if isinstance(sequence, str) else str(sequence)
