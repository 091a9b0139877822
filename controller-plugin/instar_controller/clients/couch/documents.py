"""`Documents` over CouchDB: a database of our own, with views for people and for whoever wants numbers.

One rule: it is made, and its views with it, before it is first used and after every failure; whoever else does so at
the same time is not in the way. Who gives no views only reads, and makes nothing. An object can be sent to another
process, which opens connections of its own.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

from instar_controller.clients.couch.connection import Connection, CouchSettings, Reply
from instar_controller.clients.couch.database import Database, refusal
from instar_controller.cluster_ports import Change, Changes
from instar_controller.errors import ConflictError, NotFoundError, StoreError
from instar_controller.whisk.values import Json, JsonObject, compact

HIGHEST = "\ufff0"  # sorts behind whatever an id goes on with
AT_A_TIME = 200  # documents that one request asks for or brings
GRACE_S = 1.0  # for CouchDB to end a poll that nothing came of

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Design:
    """A design document by its name, and its views by theirs: JavaScript, as CouchDB wants it."""

    name: str
    views: tuple[tuple[str, str, str | None], ...]  # name, map, reduce

    def document(self) -> JsonObject:
        views: dict[str, Json] = {}
        for name, function, reduction in self.views:
            views[name] = {"map": function} if reduction is None else {"map": function, "reduce": reduction}
        return {"_id": f"_design/{self.name}", "language": "javascript", "views": views}


class CouchDocuments:
    """The database of this name. Without a `design` it has to be there already."""

    def __init__(self, settings: CouchSettings, name: str, design: Design | None = None) -> None:
        self._place = (settings, name, design)
        self._database = Database(Connection(settings), name)
        self._lock = threading.Lock()
        self._is_ready = False

    def __reduce__(self) -> tuple[type[CouchDocuments], tuple[CouchSettings, str, Design | None]]:
        return CouchDocuments, self._place

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CouchDocuments) and self._place == other._place

    def __hash__(self) -> int:
        return hash(self._place)

    def __repr__(self) -> str:
        return repr(self._database)

    def find(self, ids: Sequence[str]) -> Mapping[str, JsonObject]:
        found: dict[str, JsonObject] = {}
        with self._ready() as database:
            for some in _parts(ids):
                body = compact({"keys": list(some)}).encode()
                reply = database.exchange("POST", "_all_docs", query={"include_docs": "true"}, body=body)
                for row in _list(_value(database, reply, "reading documents"), "rows", database):
                    document = row.get("doc")
                    if isinstance(document, Mapping) and not document.get("_deleted"):
                        found[str(document["_id"])] = document
        return found

    def under(self, prefix: str) -> Mapping[str, str]:
        query = {"startkey": compact(prefix), "endkey": compact(prefix + HIGHEST)}
        with self._ready() as database:
            rows = _list(database.asked("_all_docs", query=query), "rows", database)
            return {str(row["id"]): _revision_in(row) for row in rows}

    def put(self, documents: Sequence[JsonObject]) -> Sequence[str | None]:
        revisions: list[str | None] = []
        with self._ready() as database:
            for some in _parts(documents):
                body = compact({"docs": list(some)}).encode()
                reply = database.exchange("POST", "_bulk_docs", body=body)
                results = _list(_value(database, reply, "writing documents"), "results", database)
                told = {str(result.get("id")): result for result in results}  # the order is CouchDB's own
                revisions += [_written(database, told, str(document["_id"])) for document in some]
        return revisions

    def changes(self, since: str, *, timeout_s: float, most: int) -> Changes:
        with self._ready() as database:
            news = _changes(database, since, most)
            if news.entries or timeout_s <= 0:
                return news
            _wait(database, news.next, timeout_s)
            return _changes(database, news.next, most)

    def view(self, name: str, *, query: Mapping[str, str]) -> Sequence[JsonObject]:
        """The rows of one of the design document's views."""
        design = self._place[2]
        assert design is not None, "its views are asked for by whoever gives them"
        with self._ready() as database:
            return database.rows(design.name, name, query=query)

    @contextmanager
    def _ready(self) -> Iterator[Database]:
        """The database, made. A failure may mean that it is gone, so the next one looks again."""
        design = self._place[2]
        try:
            with self._lock:
                if not self._is_ready and design is not None:
                    self._database.ensure()
                    _ensure_design(self._database, design)
                    self._is_ready = True
            yield self._database
        except NotFoundError as error:
            self._is_ready = False
            raise StoreError(str(error)) from error
        except StoreError:
            self._is_ready = False
            raise


def _ensure_design(database: Database, design: Design) -> None:
    """Write the design document unless it says the same already."""
    wanted = design.document()
    id = str(wanted["_id"])
    try:
        stored = database.get(id)
    except NotFoundError:
        stored = {}
    if all(stored.get(key) == value for key, value in wanted.items()):
        return
    revision = stored.get("_rev")
    with contextlib.suppress(ConflictError):  # somebody else was faster
        database.put(id, wanted if revision is None else {**wanted, "_rev": revision})


def _changes(database: Database, since: str, most: int) -> Changes:
    answer = database.asked("_changes", query={"since": since, "limit": str(most)})
    entries: list[Change] = []
    for row in _list(answer, "results", database):
        match row:
            case {"id": str(id), "changes": [{"rev": str(revision)}, *_]}:
                entries.append(Change(id, revision, row.get("deleted") is True, None))
            case _:
                raise StoreError(f"{database}: the feed of changes has an entry that is none: {str(row)[:200]}")
    last = answer.get("last_seq")
    return Changes(entries, last if isinstance(last, str) else str(last))


def _wait(database: Database, since: str, timeout_s: float) -> None:
    """Return when there is news, or time is up."""
    query = {"since": since, "limit": "1", "feed": "longpoll", "timeout": str(round(timeout_s * 1000))}
    begun_s = time.monotonic()
    try:
        database.asked("_changes", query=query, timeout_s=timeout_s + GRACE_S)
    except StoreError:  # a poll that hangs tells nothing; reading will show how the database is
        if time.monotonic() - begun_s < timeout_s:
            raise


def _parts(items: Sequence[T]) -> Iterator[Sequence[T]]:
    for begin in range(0, len(items), AT_A_TIME):
        yield items[begin : begin + AT_A_TIME]


def _value(database: Database, reply: Reply, what: str) -> Json:
    if not 200 <= reply.status < 300:
        name, reason = reply.error
        raise StoreError(f"{database}: {what}: {refusal(reply.status, reason or name)}")
    try:
        return reply.json()
    except ValueError as error:
        raise StoreError(f"{database}: {what}: the answer is no JSON: {error}") from None


def _list(answer: Json, name: str, database: Database) -> Sequence[JsonObject]:
    """The objects in a list of an answer."""
    found = answer.get(name) if isinstance(answer, Mapping) else answer
    if not isinstance(found, list) or not all(isinstance(item, Mapping) for item in found):
        raise StoreError(f"{database}: the answer has no {name}: {str(answer)[:200]}")
    return found


def _revision_in(row: JsonObject) -> str:
    value = row.get("value")
    return str(value.get("rev")) if isinstance(value, Mapping) else ""


def _written(database: Database, told: Mapping[str, JsonObject], id: str) -> str | None:
    """The new revision of a document; None if it was changed meanwhile."""
    result = told.get(id, {})
    if isinstance(revision := result.get("rev"), str) and "error" not in result:
        return revision
    if result.get("error") == "conflict":
        return None
    why = f"{result.get('error', 'no word of it')} {result.get('reason', '')}"
    raise StoreError(f"{database}: writing {id}: {why[:200]}")
