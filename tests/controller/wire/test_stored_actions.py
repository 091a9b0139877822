"""Actions as a stock controller stores them: what is read, and what of it a container gets."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import cast

import pytest
from wire_recordings import Recorded, documents, exchanges

from instar_controller.errors import MalformedError, StoreError
from instar_controller.whisk import manifest, stored_action
from instar_controller.whisk.stored_action import StoredAction
from instar_controller.whisk.values import Json, JsonObject

IMAGE: Json = {"prefix": "openwhisk", "name": "any"}
MANIFEST = manifest.parse(
    {
        "runtimes": {
            "nodejs": [{"kind": "nodejs:20", "image": IMAGE}],
            "python": [{"kind": "python:3", "image": IMAGE}],
            "pytorch": [{"kind": "pytorch:2", "image": IMAGE}],
        },
        "blackboxes": [{"prefix": "openwhisk", "name": "trusted", "tag": "1"}],
    }
)
CODE = "def main(args):\n    return args\n"

ACTIONS = [
    recorded
    for kind in ("action-inline", "action-attachment", "action-blackbox", "action-plain-string")
    for recorded in (*documents(kind, "sent"), *documents(kind, "storedAfterwards"))
]


def document(recorded: Recorded) -> dict[str, Json]:
    """A recorded document with the revision that only what is read has."""
    return {"_rev": "1-0", **cast(Mapping[str, Json], recorded.value)}


def hello(**changed: Json) -> dict[str, Json]:
    """The first recorded action, whose fields may be changed; None leaves one out."""
    fields = {**document(ACTIONS[0]), **changed}
    return {key: value for key, value in fields.items() if value is not None}


def with_code(code: Json, **changed: Json) -> dict[str, Json]:
    return hello(exec={"kind": "python:3", "binary": False, "code": code, **changed})


def read(found: JsonObject) -> StoredAction:
    return stored_action.parse(found, MANIFEST)


@pytest.mark.parametrize("recorded", ACTIONS, ids=str)
def test_a_recorded_action_is_read_and_would_be_written_as_it_was(recorded: Recorded) -> None:
    found = document(recorded)
    stored = {key: value for key, value in found.items() if key != "_attachments"}
    assert read(found).to_json() == stored
    assert stored_action.is_action(found)
    assert stored_action.kind(found) == read(found).action.exec.kind


def test_no_recording_is_left_out() -> None:
    assert len(ACTIONS) == 29 + 1 + 2 + 1 + 2


@pytest.mark.parametrize(
    "recorded",
    [r for kind in ("binding", "package", "rule", "trigger") for r in documents(kind, "sent")]
    + documents("action-sequence", "sent"),
    ids=str,
)
def test_what_is_no_action_that_runs_is_told(recorded: Recorded) -> None:
    with pytest.raises(MalformedError, match=r"is no action|the kind 'sequence' is not in"):
        read(document(recorded))
    assert stored_action.is_action(document(recorded)) == ("seq" in recorded.label)


def test_containers_get_the_code_that_the_stock_invoker_sent() -> None:
    """Of each recorded `/init` whose action was recorded too, in the version that ran."""
    latest = {found["name"]: read(found) for found in map(document, ACTIONS) if "couch:" not in json.dumps(found)}
    compared: set[str] = set()
    for label, body in exchanges("/init"):
        sent = body["value"]
        stored = latest.get(sent["name"])
        if stored is None or stored.action.full_name != sent["env"]["__OW_ACTION_NAME"][1:]:
            continue
        assert (sent["code"], sent["binary"]) == (stored.action.exec.code, stored.action.exec.binary), label
        compared.add(sent["name"])
    assert {"zipped", "bb", "invokerHealthTestAction0", "classify"} <= compared
    assert len(compared) > 15


def test_code_beside_the_document_is_fetched_by_its_name() -> None:
    attached = read(document(documents("action-attachment", "storedAfterwards")[0]))
    assert attached.needs == "e699c9bc-b71d-4dcd-99c9-bcb71d2dcd3b"
    assert attached.action.exec.code == ""
    assert attached.with_code(CODE.encode()).exec.code == CODE


def test_a_bare_name_is_that_of_an_attachment() -> None:
    old = read(with_code({"attachmentName": "codefile", "attachmentType": "text/plain"}))
    assert old.needs == "codefile"


def test_an_archive_is_stored_as_it_is_and_sent_as_base64() -> None:
    data = bytes(range(256))
    within = base64.urlsafe_b64encode(data).decode()
    for name in (f"mem:{within}", "couch:1"):
        stored = read(with_code({"attachmentName": name, "attachmentType": "x"}, binary=True))
        whole = stored.action if stored.needs is None else stored.with_code(data)
        assert whole.exec.code == base64.b64encode(data).decode()
        assert whole.exec.binary


def test_a_text_in_the_document_is_sent_as_it_is() -> None:
    archive = base64.b64encode(b"PK\3\4..").decode()
    assert read(with_code(archive, binary=True)).action.exec.code == archive
    assert read(with_code(CODE)).action.exec.code == CODE


def test_whether_code_is_an_archive_is_seen_where_it_is_not_said() -> None:
    archive = base64.b64encode(b"PK\3\4..").decode()
    assert read(with_code(archive, binary=None)).action.exec.binary
    assert not read(with_code(CODE, binary=None)).action.exec.binary


def test_damaged_code_is_not_run() -> None:
    digest = f"sha256-{hashlib.sha256(CODE.encode()).hexdigest()}"
    inside = {"attachmentName": "mem:" + base64.urlsafe_b64encode(CODE.encode()[:-1]).decode(), "attachmentType": "x"}
    beside = {"attachmentName": "couch:1", "attachmentType": "x"}
    for wrong in ({"digest": digest}, {"length": len(CODE)}):
        with pytest.raises(MalformedError, match="stored code has"):
            read(with_code({**inside, **wrong}))
        with pytest.raises(MalformedError, match="stored code has"):
            read(with_code({**beside, **wrong})).with_code(CODE.encode()[:-1])
    with pytest.raises(MalformedError, match="not base64"):
        read(with_code({"attachmentName": "mem:a", "attachmentType": "x"}))
    with pytest.raises(MalformedError, match="not a text in UTF-8"):
        read(with_code(beside)).with_code(b"\xff")


@pytest.mark.parametrize("uri", ["s3:a/b", "az:a", "mems:a"])
def test_code_in_another_store_cannot_be_read(uri: str) -> None:
    stored = read(with_code({"attachmentName": uri, "attachmentType": "x"}))
    with pytest.raises(StoreError, match=f"kept under '{uri}'"):
        assert stored.needs


def test_a_users_image_is_trusted_if_the_manifest_names_it() -> None:
    trusted = read(hello(exec={"kind": "blackbox", "image": "openwhisk/trusted:1", "binary": False}))
    assert (trusted.action.exec.image, trusted.action.exec.is_trusted) == ("openwhisk/trusted:1", True)
    assert (trusted.action.exec.code, trusted.needs) == ("", None)
    other = read(hello(exec={"kind": "blackbox", "image": "me/mine", "binary": False}))
    assert not other.action.exec.is_trusted


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        (hello(entityType="package"), "is no action"),
        (hello(_id=None), "lacks '_id'"),
        (hello(_rev=None), "lacks '_rev'"),
        (hello(exec=[]), "'exec' must be an object"),
        (hello(exec={"kind": "python:3", "binary": False}), "lacks 'code'"),
        (hello(exec={"kind": "ruby:9", "code": "", "binary": False}), "'ruby:9' is not in the runtimes manifest"),
        (hello(exec={"kind": "blackbox", "image": "--privileged"}), "no image's name"),
        (hello(exec={"kind": "blackbox"}), "'image'"),
        (with_code({"attachmentName": "couch:", "attachmentType": "x"}), "names nothing"),
        (with_code(7), "'code' must be an object"),
        (hello(namespace="a/b/c"), "illegal characters"),
        (hello(name="../x"), "illegal characters"),
        (hello(limits=None), "lacks 'limits'"),
        (hello(limits={"memory": "much"}), "'memory' must be a whole number"),
        (hello(version="1"), "three numbers"),
        (hello(annotations={}), "'annotations' must be an array"),
        (hello(_attachments={"a": {}, "b": {}}), "more than one attachment"),
    ],
    ids=str,
)
def test_what_makes_a_document_unreadable_is_said(wrong: JsonObject, what: str) -> None:
    with pytest.raises(MalformedError, match=what):
        read(wrong)


def test_what_old_documents_lack_is_as_it_was_then() -> None:
    old = read(
        hello(limits={"timeout": 7, "memory": 128}, publish=None, parameters=None, updated=None, entityType=None)
    )
    assert (old.action.limits.logs_mb, old.action.limits.concurrency) == (10, 1)
    assert (old.action.limits.timeout_ms, old.action.limits.memory_mb) == (7, 128)
    assert (old.action.publish, old.action.parameters, old.action.updated_ms) == (False, (), 0)
