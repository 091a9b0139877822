"""One database of CouchDB: documents, and what its answers mean.

One rule: every answer that is not the one hoped for becomes one of our errors, which says what was asked, what
CouchDB said and what to do. Only a document that is not there is "not found"; a *database* that is not is a fault.
"""

from __future__ import annotations

from collections.abc import Mapping

from instar_controller.clients.couch.connection import Connection, Reply
from instar_controller.errors import ConflictError, NotFoundError, StoreError
from instar_controller.whisk.values import Json, JsonObject, compact

_NO_DATABASE = ("no_db_file", "Database does not exist.")


class Database:
    """A database by its name. Safe for several threads.

    Every method may raise `StoreError`: there was no answer in time, or a refusal, or nonsense.
    """

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self.name = name

    def __repr__(self) -> str:
        return f"Database({self._connection.settings.url}/{self.name})"

    def exchange(
        self,
        method: str,
        *path: str,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "application/json",
        timeout_s: float | None = None,
    ) -> Reply:
        """Ask once, below this database; the answer whatever its status."""
        whole = (self.name, *path)
        return self._connection.exchange(
            method, whole, query=query, body=body, content_type=content_type, timeout_s=timeout_s
        )

    def ensure(self) -> None:
        """Make the database unless it is there."""
        reply = self.exchange("PUT")
        if reply.status != 412:  # it is there already
            self._expect(reply, "making it")

    def get(self, id: str, *, query: Mapping[str, str] | None = None) -> JsonObject:
        """A document. Raises `NotFoundError`."""
        return self._object(self.exchange("GET", *_segments(id), query=query), f"reading {id}")

    def attachment(self, id: str, name: str, *, revision: str | None = None) -> bytes:
        """An attachment of a document. Raises `NotFoundError`."""
        query = None if revision is None else {"rev": revision}
        reply = self.exchange("GET", *_segments(id), name, query=query)
        self._expect(reply, f"reading attachment {name} of {id}")
        return reply.body

    def put(self, id: str, document: JsonObject) -> str:
        """Write a document, with `_rev` if it replaces one; the new revision. Raises `ConflictError`."""
        reply = self.exchange("PUT", *_segments(id), body=compact(document).encode())
        return _revision(self._object(reply, f"writing {id}"))

    def put_attachment(self, id: str, name: str, content: bytes, *, revision: str, content_type: str) -> str:
        """Add an attachment to a document of that revision; the new revision. Raises `ConflictError`."""
        reply = self.exchange(
            "PUT", *_segments(id), name, query={"rev": revision}, body=content, content_type=content_type
        )
        return _revision(self._object(reply, f"writing attachment {name} of {id}"))

    def delete(self, id: str, *, revision: str) -> str:
        """Delete a document of that revision; the deletion's revision. Raises `ConflictError` or `NotFoundError`."""
        reply = self.exchange("DELETE", *_segments(id), query={"rev": revision})
        return _revision(self._object(reply, f"deleting {id}"))

    def rows(
        self, design: str, view: str, *, query: Mapping[str, str], keys: list[Json] | None = None
    ) -> list[JsonObject]:
        """The rows of a view; of these keys only, if there are any."""
        path = ("_design", design, "_view", view)
        if keys is None:
            reply = self.exchange("GET", *path, query=query)
        else:
            reply = self.exchange("POST", *path, query=query, body=compact({"keys": keys}).encode())
        what = f"reading the view {design}/{view}"
        if reply.status == 404:
            raise StoreError(f"{self}: {what}: there is no such view; the database has to be initialised first")
        rows = self._object(reply, what).get("rows")
        if not isinstance(rows, list):
            raise StoreError(f"{self}: {what}: the answer has no rows")
        return rows

    def asked(self, *path: str, query: Mapping[str, str], timeout_s: float | None = None) -> JsonObject:
        """What the database answers to a GET of one of its own functions, such as `_changes`."""
        return self._object(self.exchange("GET", *path, query=query, timeout_s=timeout_s), f"asking {'/'.join(path)}")

    def _object(self, reply: Reply, what: str) -> JsonObject:
        self._expect(reply, what)
        try:
            value = reply.json()
        except ValueError as error:
            raise StoreError(f"{self}: {what}: the answer is no JSON: {error}") from None
        if not isinstance(value, Mapping):
            raise StoreError(f"{self}: {what}: the answer is no object")
        return value

    def _expect(self, reply: Reply, what: str) -> None:
        """Raises what an answer stands for that is not a success."""
        if 200 <= reply.status < 300:
            return
        name, reason = reply.error
        match reply.status:
            case 404 if name == "not_found" and reason not in _NO_DATABASE:
                raise NotFoundError(f"{self}: {what}: {reason}")
            case 409 | 412:
                raise ConflictError(f"{self}: {what}: {reason or 'conflict'}; read it again")
            case status:
                raise StoreError(f"{self}: {what}: {refusal(status, reason or name)}")


def refusal(status: int, reason: str) -> str:
    """An answer that is not a success, and what an operator can do about it."""
    match status:
        case 401 | 403:
            way_out = "check the user's name, password and rights"
        case 404:
            way_out = "check the database's name, and initialise it"
        case 413:
            way_out = "raise CouchDB's max_document_size or max_http_request_size"
        case 507:
            way_out = "make room on its disk"
        case status if status >= 500 or status == 429:
            way_out = "look at its log"
        case _:
            way_out = "check its address"
    return f"CouchDB answered {status}{f' ({reason})' if reason else ''}; {way_out}"


def _segments(id: str) -> tuple[str, ...]:
    """A document's id as segments of a URL: those of design documents are two, all others one."""
    kind, slash, name = id.partition("/")
    return (kind, name) if slash and kind in ("_design", "_local") else (id,)


def _revision(answer: JsonObject) -> str:
    return str(answer.get("rev", ""))
