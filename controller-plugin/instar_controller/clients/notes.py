"""Small documents that are replaced by comparing and setting: who holds a claim, how far a feed was read, costs.

One rule: a note is written only over the revision that its writer has read, so of two who write one learns of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from instar_controller.cluster_ports import Documents
from instar_controller.errors import ConflictError
from instar_controller.whisk.values import JsonObject


@dataclass(frozen=True, slots=True)
class Note:
    """What a note says, and the revision to replace it by."""

    body: JsonObject
    revision: str


class Notes:
    """The notes in a database. Every method may raise `StoreError`; then nobody knows whether it was done."""

    def __init__(self, documents: Documents) -> None:
        self._documents = documents

    def read(self, id: str) -> Note | None:
        """The note of this name; None if there is none."""
        document = self._documents.find([id]).get(id)
        if document is None:
            return None
        return Note({key: value for key, value in document.items() if key[:1] != "_"}, str(document["_rev"]))

    def under(self, prefix: str) -> dict[str, Note]:
        """The notes whose names begin like this."""
        found = self._documents.find(list(self._documents.under(prefix)))
        return {
            id: Note({key: value for key, value in document.items() if key[:1] != "_"}, str(document["_rev"]))
            for id, document in found.items()
        }

    def write(self, id: str, body: JsonObject, *, replaces: str | None) -> str:
        """Write a note over this revision, or where there is none; the new revision. Raises `ConflictError`."""
        document = {**body, "_id": id} if replaces is None else {**body, "_id": id, "_rev": replaces}
        (revision,) = self._documents.put([document])
        if revision is None:
            raise ConflictError(f"the note {id} was changed by somebody else; read it again")
        return revision
