"""The store on disk: SQLite in write-ahead mode.

One rule: what a `put` or `delete` has returned from is on the disk. Every write is one transaction, and
`synchronous=FULL` makes its commit wait for the disk, so a power cut takes no acknowledged write with it. That
costs a write some milliseconds (median 2 to 4, measured on a virtual disk with 2 cores), and no blocking answer waits
for one: a record is written after it. Readers use connections of their own and never wait for the writer.

Two processes never share a store: the lock beside the file goes with the process, however that ends.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from instar_controller.clients.retention import DEFAULT, Retention
from instar_controller.errors import ConflictError, NotFoundError, StoreError
from instar_controller.ports import ActivationQuery
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.document import CONCURRENT_CHANGE, Collection, Document, Key
from instar_controller.whisk.values import Json, JsonObject, compact

logger = logging.getLogger(__name__)

APPLICATION_ID = 0x494E5354  # "INST", so that a foreign database is never taken for ours
SCHEMA_VERSION = 1
READERS = 4
_WAIT_FOR_LOCK_S = 30.0

# `code` is last in its row: SQLite reads only as far into a row as the columns that a query names.
_SCHEMA = f"""
CREATE TABLE documents (
    revision INTEGER PRIMARY KEY AUTOINCREMENT,
    collection TEXT NOT NULL, namespace TEXT NOT NULL, package TEXT NOT NULL, name TEXT NOT NULL,
    updated_ms INTEGER NOT NULL, body TEXT NOT NULL, code BLOB,
    UNIQUE (collection, namespace, package, name)
);
CREATE INDEX documents_by_update ON documents (collection, namespace, updated_ms);
CREATE TABLE activations (
    namespace TEXT NOT NULL, activation_id TEXT NOT NULL,
    start_ms INTEGER NOT NULL, qualified_name TEXT NOT NULL, bulk_bytes INTEGER NOT NULL,
    summary TEXT NOT NULL, result TEXT NOT NULL, logs TEXT NOT NULL,
    PRIMARY KEY (namespace, activation_id)
);
CREATE INDEX activations_by_start ON activations (namespace, start_ms);
CREATE INDEX activations_by_name ON activations (namespace, qualified_name, start_ms);
CREATE INDEX activations_by_age ON activations (start_ms, bulk_bytes);
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {SCHEMA_VERSION};
"""

_DOCUMENT = "revision, namespace, package, name, updated_ms, body"
_AT = "collection = ? AND namespace = ? AND package = ? AND name = ?"


class DiskStore:
    """A `Store` in one file. Owns the file, its lock and all connections to it."""

    def __init__(self, path: Path, retention: Retention = DEFAULT) -> None:
        """Open the store, or make it if there is none. Raises `StoreError`: says which file, why, what to
        do.
        """
        self._path = path
        self._retention = retention
        self._writing = threading.Lock()
        self._since_pruned = 0
        self._readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        with contextlib.ExitStack() as opened:
            self._lock_fd = _take_lock(path)
            opened.callback(os.close, self._lock_fd)
            with self._translated("open"):
                self._writer = self._connect()
                opened.callback(self._writer.close)
                _prepare(self._writer, path)
                for _ in range(READERS):
                    reader = self._connect()
                    opened.callback(reader.close)
                    self._readers.put(reader)
            with self._writes("open") as connection:
                self._prune(connection)
            self._opened = opened.pop_all()

    def __repr__(self) -> str:
        return f"DiskStore({self._path})"

    def get(self, key: Key) -> Document:
        with self._reads() as connection:
            row = connection.execute(f"SELECT {_DOCUMENT} FROM documents WHERE {_AT}", _place(key)).fetchone()
        if row is None:
            raise NotFoundError
        return _document(key.collection, row)

    def get_code(self, key: Key, revision: int) -> str:
        with self._reads() as connection:
            row = connection.execute(
                f"SELECT code FROM documents WHERE {_AT} AND revision = ?", (*_place(key), revision)
            ).fetchone()
        if row is None or row[0] is None:
            raise NotFoundError
        return bytes(row[0]).decode()

    def put(self, document: Document, *, replaces: int | None) -> int:
        body, code = compact(document.body), None if document.code is None else document.code.encode()
        with self._writes("write to") as connection:
            if _revision(connection, document.key) != replaces:
                raise ConflictError(CONCURRENT_CHANGE)
            connection.execute("DELETE FROM documents WHERE revision = ?", (replaces,))
            cursor = connection.execute(
                "INSERT INTO documents (collection, namespace, package, name, updated_ms, body, code)"
                " VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*_place(document.key), document.updated_ms, body, code),
            )
            assert cursor.lastrowid is not None
            return cursor.lastrowid

    def delete(self, key: Key, *, revision: int) -> None:
        with self._writes("delete from") as connection:
            stored = _revision(connection, key)
            if stored is None:
                raise NotFoundError
            if stored != revision:
                raise ConflictError(CONCURRENT_CHANGE)
            connection.execute("DELETE FROM documents WHERE revision = ?", (revision,))

    def list_documents(
        self,
        collection: Collection,
        namespace: str,
        *,
        package: str | None = None,
        skip: int = 0,
        limit: int | None = None,
    ) -> Sequence[Document]:
        where, values = _selection(collection, namespace, package)
        with self._reads() as connection:
            rows = connection.execute(
                f"SELECT {_DOCUMENT} FROM documents WHERE {where}"
                " ORDER BY updated_ms DESC, revision DESC LIMIT ? OFFSET ?",
                (*values, -1 if limit is None else limit, skip),
            ).fetchall()
        return [_document(collection, row) for row in rows]

    def count_documents(self, collection: Collection, namespace: str, *, package: str | None = None) -> int:
        where, values = _selection(collection, namespace, package)
        with self._reads() as connection:
            return int(connection.execute(f"SELECT COUNT(*) FROM documents WHERE {where}", values).fetchone()[0])

    def put_activation(self, activation: Activation) -> None:
        summary = compact(activation.without_bulk().to_document())
        result, logs = compact(activation.response.result), compact(list(activation.logs))
        row = (
            activation.namespace,
            activation.activation_id,
            activation.start,
            activation.qualified_name,
            len(result) + len(logs),
            summary,
            result,
            logs,
        )
        with self._writes("write to") as connection:
            connection.execute("INSERT OR REPLACE INTO activations VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            self._since_pruned += 1
            if self._since_pruned > self._retention.slack:
                self._prune(connection)

    def get_activation(self, namespace: str, activation_id: ActivationId) -> Activation:
        with self._reads() as connection:
            row = connection.execute(
                "SELECT summary, result, logs FROM activations WHERE namespace = ? AND activation_id = ?",
                (namespace, activation_id),
            ).fetchone()
        if row is None:
            raise NotFoundError
        summary, result, logs = (json.loads(text) for text in row)
        response = {**summary["response"], "result": result}
        return Activation.from_document({**summary, "response": response, "logs": logs})

    def list_activations(self, query: ActivationQuery, *, skip: int, limit: int) -> Sequence[Activation]:
        where, values = _activation_selection(query)
        with self._reads() as connection:
            rows = connection.execute(
                f"SELECT summary FROM activations WHERE {where}"
                " ORDER BY start_ms DESC, activation_id LIMIT ? OFFSET ?",
                (*values, limit, skip),
            ).fetchall()
        return [Activation.from_document(json.loads(summary)) for (summary,) in rows]

    def count_activations(self, query: ActivationQuery) -> int:
        where, values = _activation_selection(query)
        with self._reads() as connection:
            return int(connection.execute(f"SELECT COUNT(*) FROM activations WHERE {where}", values).fetchone()[0])

    def close(self) -> None:
        with self._writing:
            self._opened.close()

    def _connect(self) -> sqlite3.Connection:
        # Connections move between threads, one user at a time: `_writes` and `_reads` see to that.
        connection = sqlite3.connect(
            self._path, timeout=_WAIT_FOR_LOCK_S, isolation_level=None, check_same_thread=False
        )
        connection.execute("PRAGMA synchronous = FULL")
        return connection

    @contextlib.contextmanager
    def _writes(self, doing: str) -> Iterator[sqlite3.Connection]:
        """One transaction: committed if the block ends well, rolled back if it raises."""
        with self._writing, self._translated(doing):
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                yield self._writer
                self._writer.execute("COMMIT")
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    @contextlib.contextmanager
    def _reads(self) -> Iterator[sqlite3.Connection]:
        connection = self._readers.get()
        try:
            with self._translated("read"):
                yield connection
        finally:
            self._readers.put(connection)

    @contextlib.contextmanager
    def _translated(self, doing: str) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise StoreError(f"cannot {doing} the store {self._path}: {error}; {_way_out(error)}") from error

    def _prune(self, connection: sqlite3.Connection) -> None:
        kept = self._retention
        self._since_pruned = 0
        connection.execute(
            "DELETE FROM activations WHERE rowid IN ("
            " SELECT rowid FROM ("
            "  SELECT rowid,"
            "   ROW_NUMBER() OVER newest AS place, SUM(bulk_bytes) OVER newest AS total"
            "  FROM activations WINDOW newest AS (ORDER BY start_ms DESC, rowid DESC))"
            " WHERE place > ? OR total > ?)",
            (kept.max_records, kept.max_bytes),
        )


def _take_lock(path: Path) -> int:
    """A descriptor that holds the store's lock until it is closed; the file exists. Raises `StoreError`."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(_private_file(path))
        fd = _private_file(path.with_name(path.name + ".lock"))
    except OSError as error:
        raise StoreError(
            f"cannot open the store {path}: {error.strerror}; name a directory that you may write to"
        ) from error
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        raise StoreError(
            f"the store {path} is in use by another process ({error.strerror}); "
            "stop that one or name another directory"
        ) from error
    return fd


def _private_file(path: Path) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)  # the store holds keys


def _prepare(connection: sqlite3.Connection, path: Path) -> None:
    """Make the tables in a new file; check an old one's. Raises `StoreError`."""
    (is_used,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if is_used and application != APPLICATION_ID:
        raise StoreError(f"{path} is a database, but not one of Instar's; name another directory")
    if is_used and version != SCHEMA_VERSION:
        raise StoreError(
            f"the store {path} has schema version {version}, this Instar reads {SCHEMA_VERSION}; "
            "use the Instar that wrote it, or name another directory"
        )
    connection.execute("PRAGMA journal_mode = WAL")
    if not is_used:
        connection.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")


def _way_out(error: sqlite3.Error) -> str:
    # Errors of Python's own layer, such as the use of a closed connection, carry no code.
    match getattr(error, "sqlite_errorcode", sqlite3.SQLITE_MISUSE) & 0xFF:
        case sqlite3.SQLITE_FULL | sqlite3.SQLITE_IOERR:
            return "make room on its disk; nothing that was acknowledged is lost"
        case sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_READONLY | sqlite3.SQLITE_PERM:
            return "name a directory that you may write to"
        case sqlite3.SQLITE_NOTADB | sqlite3.SQLITE_CORRUPT:
            return "it is damaged or no database; move it away to start with an empty one"
        case _:
            return "try again"


def _place(key: Key) -> tuple[str, str, str, str]:
    return (key.collection.value, key.namespace, key.package, key.name)


def _revision(connection: sqlite3.Connection, key: Key) -> int | None:
    row = connection.execute(f"SELECT revision FROM documents WHERE {_AT}", _place(key)).fetchone()
    return None if row is None else int(row[0])


def _document(collection: Collection, row: tuple[int, str, str, str, int, str]) -> Document:
    revision, namespace, package, name, updated_ms, body = row
    parsed: JsonObject = json.loads(body)
    return Document(Key(collection, namespace, name, package), parsed, updated_ms, revision)


def _selection(collection: Collection, namespace: str, package: str | None) -> tuple[str, list[str]]:
    where, values = "collection = ? AND namespace = ?", [collection.value, namespace]
    return (where, values) if package is None else (f"{where} AND package = ?", [*values, package])


def _activation_selection(query: ActivationQuery) -> tuple[str, list[Json]]:
    where: list[str] = ["namespace = ?"]
    values: list[Json] = [query.namespace]
    for condition, value in (
        ("qualified_name = ?", query.name),
        ("start_ms >= ?", query.since_ms),
        ("start_ms <= ?", query.upto_ms),
    ):
        if value is not None:
            where.append(condition)
            values.append(value)
    return " AND ".join(where), values
