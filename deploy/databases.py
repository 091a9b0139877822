"""Lay an empty CouchDB out as OpenWhisk wants it: `python databases.py FILES`, in the environment of its controller.

FILES is the folder `ansible/files` of a checkout of apache/openwhisk: the design documents and the sample keys are
taken from there and sent as they are, as OpenWhisk's own playbooks do. The rule: what is there stays. A database is
made if it is missing, a design document replaced only by one that differs, a subject never touched.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import requests

CONFIG = "CONFIG_whisk_couchdb_"
ANSWER_S = 30.0
# Which of OpenWhisk's design documents belongs into which database, by the name that its configuration gives it.
DESIGN_DOCUMENTS = {
    "WhiskAuth": (
        "auth_design_document_for_subjects_db_v2.0.0.json",
        "filter_design_document.json",
        "namespace_throttlings_design_document_for_subjects_db.json",
    ),
    "WhiskEntity": (
        "whisks_design_document_for_entities_db_v2.1.0.json",
        "filter_design_document.json",
    ),
    "WhiskActivation": (
        "whisks_design_document_for_activations_db_v2.1.0.json",
        "whisks_design_document_for_activations_db_filters_v2.1.1.json",
        "filter_design_document.json",
        "activations_design_document_for_activations_db.json",
        "logCleanup_design_document_for_activations_db.json",
    ),
}
SUBJECTS = ("guest", "whisk.system")
OF_ITS_OWN = ("_users", "_replicator")  # databases that a single CouchDB asks for
# A record may carry 10 MB of logs beside its result; CouchDB 3 takes documents of 8 MB unless it is told otherwise.
MAX_DOCUMENT_BYTES = 64 << 20


class SetupError(Exception):
    """The databases are not as they should be; its message says what to do."""


def main(arguments: list[str], environment: Mapping[str, str]) -> int:
    """The exit status: 0, or 1 with one line on standard error."""
    if len(arguments) != 1:
        print("usage: python databases.py OPENWHISK/ansible/files", file=sys.stderr)
        return 2
    try:
        couch = Couch(environment)
        take_large_documents(couch)
        lay_out(Path(arguments[0]), couch, environment)
    except KeyError as error:
        print(f"databases.py: {error.args[0]} is not set; it is what the controller has", file=sys.stderr)
        return 1
    except (SetupError, OSError, ValueError) as error:  # no answer is an OSError, no JSON a ValueError
        print(f"databases.py: {error}", file=sys.stderr)
        return 1
    return 0


class Couch:
    """The server, as the controller is told where to find it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        protocol, host, port = (environment[CONFIG + name] for name in ("protocol", "host", "port"))
        self._url = f"{protocol}://{host}:{port}/"
        self._session = requests.Session()
        self._session.auth = (environment[CONFIG + "username"], environment[CONFIG + "password"])

    def ask(self, method: str, path: str, body: object = None, *, expected: tuple[int, ...]) -> Any:
        """The answer's JSON. Raises `SetupError` for a status that is not expected."""
        data = None if body is None else json.dumps(body)
        answer = self._session.request(
            method, self._url + path, data=data, headers={"Content-Type": "application/json"}, timeout=ANSWER_S
        )
        if answer.status_code not in expected:
            raise SetupError(f"{method} {self._url}{path}: {answer.status_code} {answer.text.strip()[:200]}")
        return answer.json() if answer.status_code != 404 else None


def lay_out(files: Path, couch: Couch, environment: Mapping[str, str]) -> None:
    """Databases, design documents and subjects. Raises `SetupError`, or `OSError` if the files are not there."""
    databases = {which: environment[f"{CONFIG}databases_{which}"] for which in DESIGN_DOCUMENTS}
    for database in (*OF_ITS_OWN, *databases.values()):
        couch.ask("PUT", quote(database, safe=""), expected=(201, 202, 412))
    for which, names in DESIGN_DOCUMENTS.items():
        for name in names:
            put_design_document(couch, databases[which], json.loads((files / name).read_text(encoding="utf-8")))
    for subject in SUBJECTS:
        put_subject(couch, databases["WhiskAuth"], subject, (files / f"auth.{subject}").read_text(encoding="ascii"))


def put_design_document(couch: Couch, database: str, document: dict[str, Any]) -> None:
    """Have this document, whatever version of it is there."""
    path = f"{quote(database, safe='')}/_design/{quote(document['_id'].removeprefix('_design/'), safe='')}"
    there = couch.ask("GET", path, expected=(200, 404))
    if there is not None:
        revision = there.pop("_rev")
        if there == document:
            return
        document = {**document, "_rev": revision}
    couch.ask("PUT", path, document, expected=(201, 202))
    print(f"{database}: {document['_id']}", flush=True)


def put_subject(couch: Couch, database: str, subject: str, key: str) -> None:
    """Have this subject; one that is there keeps its key."""
    path = f"{quote(database, safe='')}/{quote(subject, safe='')}"
    if couch.ask("GET", path, expected=(200, 404)) is not None:
        return
    uuid, _, secret = key.strip().partition(":")
    if not uuid or not secret:
        raise SetupError(f"the key of {subject} is no UUID:KEY; take the files of a checkout of apache/openwhisk")
    namespace = {"name": subject, "uuid": uuid, "key": secret}
    couch.ask("PUT", path, {"subject": subject, "namespaces": [namespace]}, expected=(201, 202))
    print(f"{database}: {subject}", flush=True)


def take_large_documents(couch: Couch) -> None:
    """Have CouchDB take a record with the most logs that an action may write."""
    path = "_node/_local/_config/couchdb/max_document_size"
    couch.ask("PUT", path, str(MAX_DOCUMENT_BYTES), expected=(200,))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], os.environ))
