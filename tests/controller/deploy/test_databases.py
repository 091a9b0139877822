"""deploy/databases.py, against a server: an empty one becomes OpenWhisk's, and what is there stays."""

from __future__ import annotations

import base64
import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
import whisk_sources
from databases import PASSWORD, USERNAME, DatabaseServer
from deploy import databases as setup
from deploy.databases import Couch, SetupError
from whisk_sources import DESIGNS, KEY


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A folder as `ansible/files` of a checkout of OpenWhisk."""
    whisk_sources.write(tmp_path)
    return tmp_path


def environment_of(host: str, port: int, prefix: str) -> dict[str, str]:
    return {
        "CONFIG_whisk_couchdb_protocol": "http",
        "CONFIG_whisk_couchdb_host": host,
        "CONFIG_whisk_couchdb_port": str(port),
        "CONFIG_whisk_couchdb_username": USERNAME,
        "CONFIG_whisk_couchdb_password": PASSWORD,
        "CONFIG_whisk_couchdb_databases_WhiskAuth": f"{prefix}subjects",
        "CONFIG_whisk_couchdb_databases_WhiskEntity": f"{prefix}whisks",
        "CONFIG_whisk_couchdb_databases_WhiskActivation": f"{prefix}activations",
    }


@pytest.fixture
def environment(database_server: DatabaseServer) -> Mapping[str, str]:
    """As the controller's, with databases that no other test has."""
    return environment_of(database_server.host, database_server.port, f"test_{secrets.token_hex(4)}_")


def name_of(environment: Mapping[str, str], which: str) -> str:
    return environment[f"CONFIG_whisk_couchdb_databases_{which}"]


@pytest.mark.system
def test_an_empty_server_becomes_openwhisks(
    database_server: DatabaseServer, environment: Mapping[str, str], files: Path
) -> None:
    setup.lay_out(files, Couch(environment), environment)
    for which, names in setup.DESIGN_DOCUMENTS.items():
        for document in (DESIGNS[name] for name in names):
            there = database_server.ask("GET", f"{name_of(environment, which)}/{document['_id']}")
            assert {**there, "_rev": None} == {**document, "_rev": None}
    uuid, _, key = KEY.partition(":")
    subjects = name_of(environment, "WhiskAuth")
    found = database_server.ask("GET", f'{subjects}/_design/subjects.v2.0.0/_view/identities?key=["{uuid}","{key}"]')
    assert {row["id"] for row in found["rows"]} == set(setup.SUBJECTS)


@pytest.mark.system
def test_a_second_time_nothing_is_written(
    database_server: DatabaseServer,
    environment: Mapping[str, str],
    files: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def sequences() -> list[int]:
        return [database_server.ask("GET", name_of(environment, one))["update_seq"] for one in setup.DESIGN_DOCUMENTS]

    setup.lay_out(files, Couch(environment), environment)
    before = sequences()
    assert capsys.readouterr().out
    setup.lay_out(files, Couch(environment), environment)
    assert sequences() == before
    assert capsys.readouterr().out == ""


@pytest.mark.system
def test_a_design_document_that_differs_is_replaced_and_a_changed_key_is_kept(
    database_server: DatabaseServer, environment: Mapping[str, str], files: Path
) -> None:
    setup.lay_out(files, Couch(environment), environment)
    subjects = name_of(environment, "WhiskAuth")
    guest = database_server.ask("GET", f"{subjects}/guest")
    guest["namespaces"][0]["key"] = "n" * 64
    database_server.put(subjects, guest)
    name = "filter_design_document.json"
    (files / name).write_text(json.dumps({**DESIGNS[name], "language": "javascript"}), encoding="utf-8")
    setup.lay_out(files, Couch(environment), environment)
    assert database_server.ask("GET", f"{subjects}/_design/snapshotFilters")["language"] == "javascript"
    assert database_server.ask("GET", f"{subjects}/guest")["namespaces"][0]["key"] == "n" * 64


@pytest.mark.system
def test_a_wrong_password_is_said(environment: Mapping[str, str], files: Path) -> None:
    wrong = {**environment, "CONFIG_whisk_couchdb_password": "guessed"}
    with pytest.raises(SetupError, match=r"PUT http://127\.0\.0\.1:\d+/\S+: 401"):
        setup.lay_out(files, Couch(wrong), wrong)


def test_a_folder_without_the_files_is_said(
    tmp_path: Path, couch: HTTPServer, capsys: pytest.CaptureFixture[str]
) -> None:
    environment = environment_of("127.0.0.1", couch.server_port, "")
    assert setup.main([str(tmp_path)], environment) == 1
    said = capsys.readouterr().err
    assert said.startswith("databases.py: ") and "auth_design_document" in said


def test_a_variable_that_is_missing_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert setup.main([str(tmp_path)], {}) == 1
    assert "CONFIG_whisk_couchdb_protocol is not set" in capsys.readouterr().err


def test_no_server_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert setup.main([str(tmp_path)], environment_of("127.0.0.1", 1, "")) == 1
    said = capsys.readouterr().err
    assert said.startswith("databases.py: ") and said.count("\n") == 1


class Recording(BaseHTTPRequestHandler):
    """Takes whatever is put, as CouchDB takes a setting, and remembers it."""

    seen: list[tuple[str, bytes, str]]

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0)) if "Content-Length" in self.headers else b""
        self.server.seen.append((self.path, body, self.headers["Authorization"]))  # type: ignore[attr-defined]
        self.send_response(200 if self.path.startswith("/_node/") else 412)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        """Not a word."""


@pytest.fixture
def couch() -> Iterator[HTTPServer]:
    """A server that only remembers: the one for tests has no settings of CouchDB's."""
    server = HTTPServer(("127.0.0.1", 0), Recording)
    server.seen = []  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, name="recording")
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_couchdb_is_told_to_take_records_with_the_longest_logs(couch: HTTPServer) -> None:
    setup.take_large_documents(Couch(environment_of("127.0.0.1", couch.server_port, "")))
    (one,) = couch.seen  # type: ignore[attr-defined]
    path, body, authorization = one
    assert path == "/_node/_local/_config/couchdb/max_document_size"
    assert int(json.loads(body)) > 11 << 20  # 10 MB of logs, a result of 1 MB, and what JSON adds
    assert base64.b64decode(authorization.removeprefix("Basic ")).decode() == f"{USERNAME}:{PASSWORD}"
