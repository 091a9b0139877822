"""A database server for tests, with OpenWhisk's databases in it, and trouble in front of it where a test wants some.

`pouchdb-server`, in memory, on a free port of the loopback interface, with an administrator's name and password,
starts with the first test that asks and stops with the last. Each test has databases of its own names. The server
speaks CouchDB's protocol but is no CouchDB. What of it matters here:

* its long poll never ends by itself: `timeout` is ignored;
* it takes anything for a place in the feed of changes, and finds nothing after it;
* places in the feed are numbers, and it shows superseded revisions for ever, as it compacts nothing;
* `If-Match` is ignored for attachments; `?rev=` is not;
* one document with a forbidden `_id` has it refuse a whole bulk write, and its answers to one come in another order.

Not tested here is, therefore, what a cluster of CouchDB does: opaque places in the feed, answers 202 for writes that
only a part of it has, compaction.
"""

from __future__ import annotations

import base64
import json
import secrets
import shutil
import subprocess
import threading
import urllib.request
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote

import npm_packages
import openwhisk_views
import pytest
from faulty_proxy import FaultyProxy
from free_ports import free_port

USERNAME, PASSWORD = "whisk_admin", "s0me p@ss:word"
_HOST = "127.0.0.1"
ANSWER_S, END_S = 60.0, 60.0  # that the server may take, on a machine that others use, too


@dataclass(frozen=True)
class DatabaseServer:
    """A server that is up. Tests use it as administrators do: below our own clients, so as to judge them."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{self.host}:{self.port}"

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """One request; its JSON. Raises `urllib.error.HTTPError`."""
        credentials = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {credentials}"}
        content = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/{path}", data=content, headers=headers, method=method)
        with urllib.request.urlopen(request, timeout=ANSWER_S) as response:
            return json.load(response)

    def create(self, name: str, designs: Sequence[Any] = ()) -> None:
        """Make a database, with these design documents in it."""
        self.ask("PUT", name)
        for design in designs:
            self.ask("PUT", f"{name}/{design['_id']}", design)

    def put(self, database: str, document: Any) -> str:
        """Write a document; its revision."""
        revision = self.ask("PUT", f"{database}/{quote(document['_id'], safe='')}", document)["rev"]
        assert isinstance(revision, str)
        return revision

    def attach(self, database: str, id: str, revision: str, name: str, content: bytes) -> str:
        """Write an attachment; the document's new revision."""
        path = f"{database}/{quote(id, safe='')}/{quote(name, safe='')}?rev={revision}"
        attached = self.ask("PUT", path, content)["rev"]
        assert isinstance(attached, str)
        return attached

    def delete(self, database: str, id: str, revision: str) -> str:
        """Delete a document; the deletion's revision."""
        deletion = self.ask("DELETE", f"{database}/{quote(id, safe='')}?rev={revision}")["rev"]
        assert isinstance(deletion, str)
        return deletion

    def documents(self, database: str) -> dict[str, Any]:
        """Every document that is no design document, by its id."""
        rows = self.ask("GET", f"{database}/_all_docs?include_docs=true")["rows"]
        return {row["id"]: row["doc"] for row in rows if not row["id"].startswith("_design/")}


@dataclass(frozen=True)
class Databases:
    """The three databases of an OpenWhisk, by their names, and the server that has them."""

    server: DatabaseServer
    subjects: str
    entities: str
    activations: str


@contextmanager
def serving(folder: Path) -> Iterator[DatabaseServer]:
    """A server whose files, if it has any, are in this folder."""
    package = npm_packages.folder_of("pouchdb-server")
    node = shutil.which("node")
    assert node is not None
    port = free_port(_HOST)
    (folder / "config.json").write_text(json.dumps({"admins": {USERNAME: PASSWORD}}))
    command = [node, str(package / "bin" / "pouchdb-server"), "--in-memory", "--no-color"]
    command += ["--host", _HOST, "--port", str(port), "--config", "config.json", "--dir", "data"]
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as process:
        assert process.stdout is not None
        # It writes a line for each request: somebody has to read them.
        reader = threading.Thread(target=deque, args=(process.stdout, 0), name="database-output")
        try:
            _wait_until_started(process.stdout)
            reader.start()
            yield DatabaseServer(_HOST, port)
        finally:
            process.kill()  # it is in memory: there is nothing to save
            process.wait(END_S)
            if reader.ident is not None:
                reader.join(END_S)


def _wait_until_started(output: IO[str]) -> None:
    said = []
    for line in output:
        if "has started on" in line:
            return
        said.append(line)
    raise AssertionError(f"pouchdb-server did not start: {''.join(said)[-2000:]}")


@pytest.fixture(scope="session")
def database_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DatabaseServer]:
    """A server for all tests, of whatever folder."""
    with serving(tmp_path_factory.mktemp("databases")) as server:
        yield server


@pytest.fixture
def databases(database_server: DatabaseServer) -> Iterator[Databases]:
    """Three new databases with OpenWhisk's design documents, for one test."""
    prefix = f"test_{secrets.token_hex(4)}_"
    made = Databases(database_server, f"{prefix}subjects", f"{prefix}whisks", f"{prefix}activations")
    database_server.create(made.subjects, openwhisk_views.SUBJECTS)
    database_server.create(made.entities, openwhisk_views.ENTITIES)
    database_server.create(made.activations, openwhisk_views.ACTIVATIONS)
    yield made
    for name in (made.subjects, made.entities, made.activations):
        database_server.ask("DELETE", name)


@pytest.fixture
def faulty_database(database_server: DatabaseServer) -> Iterator[FaultyProxy]:
    """A way to the server that a test can put trouble into: connect to its `port` instead of the server's."""
    with FaultyProxy((database_server.host, database_server.port)) as proxy:
        yield proxy
