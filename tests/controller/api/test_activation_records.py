"""The activation record's forms on the wire and in the store."""

from __future__ import annotations

import json
from dataclasses import replace

from documents import activation

from instar_controller.whisk.activation import Activation
from instar_controller.whisk.response import Response, Status


def test_a_stored_record_is_read_back_the_same() -> None:
    bare = activation(1)
    for record in (
        bare,
        replace(bare, binding="guest/bound", init_time=None, instar=None, logs=("a", "ü"), timeout=True),
        replace(bare, response=Response(Status.DEVELOPER_ERROR, {"error": "x"})),
        replace(bare, response=Response(Status.SUCCESS, [1, {"a": None}], 3)),
    ):
        stored = json.loads(json.dumps(record.to_document()))
        assert Activation.from_document(stored) == record


def test_init_time_is_shown_only_where_there_was_an_init() -> None:
    cold, warm = activation(1), replace(activation(1), init_time=None)
    assert [note["key"] for note in cold.annotations] == [
        "path",
        "waitTime",
        "kind",
        "timeout",
        "limits",
        "initTime",
        "instar",
    ]
    assert "initTime" not in [note["key"] for note in warm.annotations]


def test_the_size_is_left_out_where_there_was_no_reply() -> None:
    record = replace(activation(1), response=Response(Status.DEVELOPER_ERROR, {"error": "late"}))
    assert record.to_result() == {
        "result": {"error": "late"},
        "status": "action developer error",
        "success": False,
    }


def test_a_record_is_filed_under_the_name_it_was_invoked_by() -> None:
    plain, packaged = activation(1), activation(1, name="ml/echo")
    assert (plain.qualified_name, packaged.qualified_name) == ("echo", "ml/echo")
    assert replace(packaged, binding="guest/bound").qualified_name == "bound/echo"
