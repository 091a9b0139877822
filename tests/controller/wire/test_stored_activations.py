"""Activation records in OpenWhisk's database: a stock invoker's and controller's are read, ours are like them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import pytest
from wire_recordings import Recorded, cut_documents, documents, messages

from instar_controller.errors import MalformedError
from instar_controller.whisk import acks, stored_activation
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.response import Response, Status
from instar_controller.whisk.values import Json, JsonObject
from instar_controller.whisk.wire_activation import WireActivation

RECORDS = documents("activation", "document")


def value(recorded: Recorded) -> JsonObject:
    return cast(Mapping[str, Json], recorded.value)


def ours() -> Activation:
    return Activation(
        activation_id=ActivationId("0" * 31 + "1"),
        namespace="guest",
        name="classify",
        version="0.0.3",
        subject="guest",
        start=1_767_225_600_100,
        end=1_767_225_600_470,
        duration=370,
        response=Response(Status.SUCCESS, {"label": "cat"}, 15),
        path="guest/ml/classify",
        kind="pytorch:2",
        limits={"timeout": 60_000, "memory": 256, "logs": 10, "concurrency": 1},
        timeout=False,
        wait_time=40,
        init_time=120,
        logs=("2026-01-01T00:00:00.123456789Z stdout: loading",),
    )


@pytest.mark.parametrize("recorded", RECORDS, ids=str)
def test_a_recorded_record_is_read_and_would_be_written_as_it_was(recorded: Recorded) -> None:
    found = value(recorded)
    assert stored_activation.parse(found).to_json() == found


def test_no_recording_is_left_out() -> None:
    assert (len(RECORDS), cut_documents("activation")) == (57, 4)


def test_what_is_acknowledged_is_what_is_stored() -> None:
    stored = {
        record.activation_id: record for record in (stored_activation.parse(value(r)).activation for r in RECORDS)
    }
    compared = 0
    for recorded in messages("completed0"):
        ack = acks.parse(recorded.text.encode())
        record = stored.get(ack.activation_id)
        response = getattr(ack, "response", None)
        if isinstance(response, WireActivation) and record is not None:
            acknowledged = replace(response, logs=record.logs).to_json()
            assert _as_doubles(acknowledged) == _as_doubles(record.to_json()), recorded.label
            compared += 1
    assert compared >= 35


def test_our_document_is_the_record_with_what_the_database_wants() -> None:
    bare = ours()
    for record in (
        bare,
        replace(bare, binding="guest/bound", init_time=None, logs=("a", "ü"), timeout=True, instar={"start": "cold"}),
        replace(bare, cause=ActivationId("c" * 32)),
        replace(bare, limits=None, kind="unknown", wait_time=0, init_time=None, duration=0),
        replace(bare, response=Response(Status.SUCCESS, [1, {"a": None}], 3)),
        replace(bare, response=Response(Status.DEVELOPER_ERROR, {"error": "x"})),
    ):
        found = json.loads(json.dumps(stored_activation.document(record, updated_ms=7)))
        assert (found["_id"], found["entityType"], found["updated"]) == (f"guest/{'0' * 31}1", "activation", 7)
        assert Activation.from_document(found) == record
        assert stored_activation.parse(found).to_json() == found


def test_a_document_of_ours_has_the_fields_of_a_stock_one() -> None:
    cold = next(r for r in RECORDS if "component of: sequence invoke" in r.label and "initTime" in r.text)
    stock = value(cold)
    made = stored_activation.document(replace(ours(), cause=ActivationId("c" * 32)), updated_ms=7)
    assert set(made) == set(stock) - {"_rev"}
    assert _notes(made) == _notes(stock)
    assert _types(made) == _types({key: stock[key] for key in made})


@pytest.mark.parametrize(
    ("wrong", "what"),
    [
        ({"_id": None}, "lacks '_id'|'_id' must be"),
        ({"_id": "guest/other"}, "holds the activation"),
        ({"entityType": "trigger"}, "is no activation"),
        ({"start": "now"}, "'start' must be a whole number"),
        ({"logs": [1]}, "'logs' must be an array of texts"),
        ({"response": {"statusCode": 4}}, "'statusCode' must be one of 0 to 3"),
    ],
    ids=str,
)
def test_what_makes_a_document_no_record_is_said(wrong: JsonObject, what: str) -> None:
    with pytest.raises(MalformedError, match=what):
        stored_activation.parse({**value(RECORDS[0]), **wrong})


def _as_doubles(value: Json) -> Json:
    """The database that was recorded keeps numbers as JavaScript does."""
    if isinstance(value, dict):
        return {key: _as_doubles(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_as_doubles(item) for item in value]
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _notes(document: JsonObject) -> set[str]:
    notes = cast(list[Mapping[str, str]], document["annotations"])
    return {note["key"] for note in notes}


def _types(document: JsonObject) -> dict[str, type]:
    return {key: type(found) for key, found in document.items()}
