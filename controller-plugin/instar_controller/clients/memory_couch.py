"""CouchDB in memory: the twins of `couch`, with the same promises but the one about surviving.

One rule: whatever a real database keeps, this keeps: revisions `N-hex` and the conflicts that come of them,
attachments that belong to a revision, deletions that stay in the feed, each document once in it. Like a database that
has just been compacted it holds no superseded revision. It is for tests, which write to a `MemoryDatabase` directly
and cause trouble by its `faults`; it has no views but those that the ports ask, and no security.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import threading
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from instar_controller.cluster_ports import Change, Changes
from instar_controller.errors import ConflictError, NotFoundError, StoreError
from instar_controller.policies.keeping import Answer, Answered, Kept, Record, Unanswered
from instar_controller.whisk import stored_activation
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.values import Json, JsonObject, compact, parse

_ATTACHMENTS = "_attachments"


class Trouble(Enum):
    """What can go wrong with one call."""

    REFUSED = "the database answers 503"
    LOST = "the database did what was asked, but its answer was lost"


class Faults:
    """What is to go wrong with a database, for tests. Safe for several threads."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._is_down = False
        self._is_held = False
        self._next: deque[Trouble | None] = deque()
        self.calls = 0  # how many have been made, failed ones included

    def go_down(self) -> None:
        """From here on nothing answers."""
        with self._changed:
            self._is_down = True

    def come_back(self) -> None:
        with self._changed:
            self._is_down = False

    def on_next(self, *troubles: Trouble | None) -> None:
        """What happens to the next calls, one each; None: nothing."""
        with self._changed:
            self._next.extend(troubles)

    @contextmanager
    def held(self) -> Iterator[None]:
        """As long as this lasts every call waits, and then goes on."""
        with self._changed:
            self._is_held = True
        try:
            yield
        finally:
            with self._changed:
                self._is_held = False
                self._changed.notify_all()

    def wait_for_calls(self, count: int, *, timeout_s: float = 60.0) -> None:
        """Return when this many calls have been made, ever."""
        with self._changed:
            if not self._changed.wait_for(lambda: self.calls >= count, timeout_s):
                raise TimeoutError(f"{self.calls} calls after {timeout_s} s, not {count}")

    @contextmanager
    def around(self, what: str) -> Iterator[None]:
        """One call. Raises `StoreError` before it or after it, if that is what is to go wrong."""
        with self._changed:
            self.calls += 1
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._is_held)
            trouble = self._next.popleft() if self._next else None
            if self._is_down:
                raise StoreError(f"{what}: the database in memory is down, as its test wants it")
        if trouble is Trouble.REFUSED:
            raise StoreError(f"{what}: {trouble.value}")
        yield
        if trouble is Trouble.LOST:
            raise StoreError(f"{what}: {trouble.value}")


@dataclass(frozen=True, slots=True)
class _Stored:
    """A document as it is now. A deleted one is kept, without its body: the feed tells of it."""

    generation: int
    revision: str
    sequence: int
    body: Mapping[str, Json] | None
    attachments: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)  # type and content by name


class MemoryDatabase:
    """Documents behind one lock. What a test changes here is what the twins below show."""

    def __init__(self) -> None:
        self.faults = Faults()
        self._changed = threading.Condition()
        self._sequence = 0
        self._stored: dict[str, _Stored] = {}

    def put(self, document: JsonObject) -> str:
        """Write a document, `_id` in it, and `_rev` if it replaces one; the new revision. Raises `ConflictError`.

        Attachments stay that are named in `_attachments`; those with `data` (base64) are new.
        """
        id, revision = str(document["_id"]), document.get("_rev")
        with self._changed:
            old = self._stored.get(id)
            if revision != (None if old is None or old.body is None else old.revision):
                raise ConflictError(f"{id}: document update conflict")
            attachments = _attachments(document, {} if old is None else old.attachments)
            body = {key: value for key, value in document.items() if key not in ("_id", "_rev", _ATTACHMENTS)}
            return self._store(id, body, attachments)

    def put_attachment(self, id: str, name: str, content: bytes, *, revision: str, content_type: str) -> str:
        """Add an attachment to a document of this revision; the new revision. Raises `ConflictError`."""
        with self._changed:
            old = self._at(id, revision)
            return self._store(id, old.body, {**old.attachments, name: (content_type, content)})

    def delete(self, id: str, *, revision: str) -> str:
        """Delete a document of this revision; the deletion's revision. Raises `ConflictError`."""
        with self._changed:
            self._at(id, revision)
            return self._store(id, None, {})

    def get(self, id: str) -> JsonObject:
        """The document as it is, `_id` and `_rev` included. Raises `NotFoundError`."""
        with self._changed:
            return _shown(id, self._find(id))

    def attachment(self, id: str, name: str, revision: str | None) -> bytes:
        """An attachment. Raises `NotFoundError`."""
        with self._changed:
            stored = self._find(id)
            if revision not in (None, stored.revision) or name not in stored.attachments:
                raise NotFoundError(f"{id} has no attachment {name} at revision {revision or stored.revision}")
            return stored.attachments[name][1]

    def documents(self) -> dict[str, JsonObject]:
        """Every document by its id."""
        with self._changed:
            return {id: _shown(id, stored) for id, stored in self._stored.items() if stored.body is not None}

    def changes(self, since: str, *, timeout_s: float, most: int) -> Changes:
        """See `cluster_ports.Entities`."""
        with self._changed:
            after = self._sequence if since == "now" else _sequence(since)
            self._changed.wait_for(lambda: self._sequence > after, timeout_s)
            news = sorted(
                (stored.sequence, id, stored) for id, stored in self._stored.items() if stored.sequence > after
            )[:most]
            entries = tuple(
                Change(id, stored.revision, stored.body is None, None if stored.body is None else _shown(id, stored))
                for _, id, stored in news
            )
            return Changes(entries, str(news[-1][0] if news else self._sequence))

    def _find(self, id: str) -> _Stored:
        stored = self._stored.get(id)
        if stored is None or stored.body is None:
            raise NotFoundError(f"there is no document {id}")
        return stored

    def _at(self, id: str, revision: str) -> _Stored:
        stored = self._stored.get(id)
        if stored is None or stored.body is None or stored.revision != revision:
            raise ConflictError(f"{id}: document update conflict")
        return stored

    def _store(self, id: str, body: Mapping[str, Json] | None, attachments: Mapping[str, tuple[str, bytes]]) -> str:
        old = self._stored.get(id)
        generation = 1 if old is None else old.generation + 1
        content = compact([None if old is None else old.revision, id, body, sorted(attachments)])
        revision = f"{generation}-{hashlib.md5(content.encode(), usedforsecurity=False).hexdigest()}"
        self._sequence += 1
        self._stored[id] = _Stored(generation, revision, self._sequence, body, attachments)
        self._changed.notify_all()
        return revision


class MemoryEntities:
    """`Entities` over a database in memory."""

    def __init__(self, database: MemoryDatabase | None = None) -> None:
        self.database = MemoryDatabase() if database is None else database

    def get(self, id: str, *, revision: str | None = None) -> JsonObject:
        with self.database.faults.around(f"reading {id}"):
            document = self.database.get(id)
            if revision not in (None, document["_rev"]):
                raise NotFoundError(f"{id} has the revision {document['_rev']}, not {revision} any more")
            return document

    def attachment(self, id: str, name: str, *, revision: str | None = None) -> bytes:
        with self.database.faults.around(f"reading attachment {name} of {id}"):
            return self.database.attachment(id, name, revision)

    def changes(self, since: str, *, timeout_s: float, most: int) -> Changes:
        with self.database.faults.around("reading the changes"):
            return self.database.changes(since, timeout_s=timeout_s, most=most)


class MemorySubjects:
    """`Subjects` over a database in memory: its view is computed at every question."""

    def __init__(self, database: MemoryDatabase | None = None) -> None:
        self.database = MemoryDatabase() if database is None else database

    def block(self, namespace: str) -> None:
        """Allow this namespace nothing any more, as an administrator does it."""
        self.database.put({"_id": f"{namespace}/limits", "concurrentInvocations": 0, "invocationsPerMinute": 0})

    def blocked(self, namespaces: Sequence[str]) -> frozenset[str]:
        with self.database.faults.around("reading which namespaces are blocked"):
            keys = {key for document in self.database.documents().values() for key in _blocked_by(document)}
            return frozenset(keys.intersection(namespaces))


class MemoryRecords:
    """`Records` over a database in memory, and a `Shelf` for `engines/keeper`."""

    def __init__(self, database: MemoryDatabase | None = None) -> None:
        self.database = MemoryDatabase() if database is None else database

    def put_activation(self, activation: Activation) -> None:
        document = stored_activation.document(activation, updated_ms=activation.end)
        with self.database.faults.around(f"writing the record {document['_id']}"):
            self._keep(document)

    def write(self, records: Sequence[Record]) -> Answer:
        """Write them, each for itself; one that is there already stays as it is, and counts as kept. Never raises."""
        try:
            with self.database.faults.around(f"writing {len(records)} records"):
                for record in records:
                    document = parse(record.body)
                    assert isinstance(document, Mapping)
                    self._keep(document)
        except StoreError as error:
            return Unanswered(str(error))
        return Answered([Kept()] * len(records))

    def _keep(self, document: JsonObject) -> None:
        with contextlib.suppress(ConflictError):  # it is there already
            self.database.put(document)


def _blocked_by(document: JsonObject) -> Sequence[str]:
    """What the view `blockedNamespaces` emits for a document."""
    if document.get("blocked") is True:
        namespaces = document.get("namespaces")
        spaces = namespaces if isinstance(namespaces, Sequence) and not isinstance(namespaces, str) else ()
        return [str(space["name"]) for space in spaces if isinstance(space, Mapping)]
    id = str(document["_id"])
    is_shut = 0 in (document.get("concurrentInvocations"), document.get("invocationsPerMinute"))
    return [id.removesuffix("/limits")] if id.endswith("/limits") and is_shut else []


def _shown(id: str, stored: _Stored) -> JsonObject:
    assert stored.body is not None
    shown: dict[str, Json] = {**stored.body, "_id": id, "_rev": stored.revision}
    if stored.attachments:
        shown[_ATTACHMENTS] = {
            name: {"content_type": content_type, "length": len(content), "stub": True}
            for name, (content_type, content) in stored.attachments.items()
        }
    return shown


def _attachments(document: JsonObject, old: Mapping[str, tuple[str, bytes]]) -> dict[str, tuple[str, bytes]]:
    named = document.get(_ATTACHMENTS)
    kept: dict[str, tuple[str, bytes]] = {}
    for name, attachment in named.items() if isinstance(named, Mapping) else ():
        assert isinstance(attachment, Mapping)
        data = attachment.get("data")
        kept[name] = (str(attachment["content_type"]), base64.b64decode(data)) if isinstance(data, str) else old[name]
    return kept


def _sequence(since: str) -> int:
    try:
        return int(since)
    except ValueError:
        raise StoreError(f"{since!r} is no place in the feed of changes; begin anew with '0'") from None
