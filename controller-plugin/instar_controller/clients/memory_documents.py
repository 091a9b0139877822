"""A database of documents in memory: the twin of `couch.documents`, over the database of `memory_couch`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from instar_controller.clients.memory_couch import MemoryDatabase
from instar_controller.cluster_ports import Changes
from instar_controller.errors import ConflictError
from instar_controller.whisk.values import JsonObject


class MemoryDocuments:
    """`Documents` over a database in memory, of this process only."""

    def __init__(self, database: MemoryDatabase | None = None) -> None:
        self.database = MemoryDatabase() if database is None else database

    def find(self, ids: Sequence[str]) -> Mapping[str, JsonObject]:
        with self.database.faults.around(f"reading {len(ids)} documents"):
            stored = self.database.documents()
            return {id: stored[id] for id in ids if id in stored}

    def under(self, prefix: str) -> Mapping[str, str]:
        with self.database.faults.around(f"listing what begins with {prefix}"):
            stored = self.database.documents()
            return {id: str(document["_rev"]) for id, document in stored.items() if id.startswith(prefix)}

    def put(self, documents: Sequence[JsonObject]) -> Sequence[str | None]:
        with self.database.faults.around(f"writing {len(documents)} documents"):
            return [self._put(document) for document in documents]

    def changes(self, since: str, *, timeout_s: float, most: int) -> Changes:
        with self.database.faults.around("reading the changes"):
            found = self.database.changes(since, timeout_s=timeout_s, most=most)
            return Changes([replace(entry, document=None) for entry in found.entries], found.next)

    def _put(self, document: JsonObject) -> str | None:
        try:
            if document.get("_deleted"):
                return self.database.delete(str(document["_id"]), revision=str(document["_rev"]))
            return self.database.put(document)
        except ConflictError:
            return None
