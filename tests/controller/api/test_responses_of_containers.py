"""What each outcome of `/init` and `/run` means: OpenWhisk's tables, row by row."""

from __future__ import annotations

import hashlib
import json

import pytest

from instar_controller.whisk import response
from instar_controller.whisk.response import (
    Disconnected,
    Outcome,
    OutOfMemory,
    Replied,
    Response,
    Status,
    TimedOut,
)

MIB = 1024 * 1024
SUCCESS, APPLICATION, DEVELOPER = Status.SUCCESS, Status.APPLICATION_ERROR, Status.DEVELOPER_ERROR
INVALID = "The action did not produce a valid JSON or JSON Array response: "


def replied(status: int, body: str) -> Replied:
    return Replied(status, body.encode(), len(body.encode()))


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (replied(200, '{"a": 1}\n'), Response(SUCCESS, {"a": 1}, 9)),
        (replied(200, '[1, {"error": 2}]'), Response(SUCCESS, [1, {"error": 2}], 17)),
        (replied(200, "{}"), Response(SUCCESS, {}, 2)),
        (replied(200, '{"ü": "☃"}'), Response(SUCCESS, {"ü": "☃"}, 10)),
        (replied(200, '{"error": {"code": 42}, "other": 1}'), Response(APPLICATION, {"error": {"code": 42}}, 35)),
        (replied(200, '{"error": null}'), Response(APPLICATION, {"error": None}, 15)),
        (replied(200, "null\n"), Response(DEVELOPER, {"error": INVALID + "null\n"}, 5)),
        (replied(200, '"text"'), Response(DEVELOPER, {"error": INVALID + '"text"'}, 6)),
        (replied(200, "oops"), Response(DEVELOPER, {"error": INVALID + "oops"}, 4)),
        (replied(200, '{"a": NaN}'), Response(DEVELOPER, {"error": INVALID + '{"a": NaN}'}, 10)),
        (replied(200, ""), Response(DEVELOPER, {"error": INVALID}, 0)),
        (replied(400, '{"error":"command exited"}\n'), Response(DEVELOPER, {"error": "command exited"}, 27)),
        (replied(502, '{"error": {"a": 1}}'), Response(DEVELOPER, {"error": {"a": 1}}, 19)),
        (replied(500, '{"a": 1}'), Response(DEVELOPER, {"error": INVALID + '{"a": 1}'}, 8)),
        (replied(500, "[1]"), Response(DEVELOPER, {"error": INVALID + "[1]"}, 3)),
        (
            Disconnected(),
            Response(DEVELOPER, {"error": "The action did not produce a valid response and exited unexpectedly."}),
        ),
        (
            TimedOut(3000),
            Response(DEVELOPER, {"error": "The action exceeded its time limits of 3000 milliseconds."}),
        ),
        (
            OutOfMemory(),
            Response(DEVELOPER, {"error": "The action exhausted its memory and was aborted."}),
        ),
    ],
)
def test_a_run_is_read_as_openwhisk_reads_it(outcome: Outcome, expected: Response) -> None:
    assert response.of_run(outcome, max_result_bytes=MIB) == expected


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (replied(200, '{"ok":true}\n'), None),
        (replied(200, "whatever"), None),
        (replied(403, '{"error": "Missing main/no code to execute."}'), "Missing main/no code to execute."),
        (replied(502, "broken"), "The action failed during initialization: broken"),
        (replied(502, ""), "The action failed during initialization."),
        (replied(502, '{"a": 1}'), 'The action failed during initialization: {"a": 1}'),
        (Disconnected(), "The action did not initialize and exited unexpectedly."),
        (TimedOut(100), "The action exceeded its time limits of 100 milliseconds during initialization."),
        (OutOfMemory(), "The action exhausted its memory and was aborted."),
    ],
)
def test_an_init_is_read_as_openwhisk_reads_it(outcome: Outcome, error: str | None) -> None:
    read = response.of_init(outcome, max_result_bytes=MIB)
    if error is None:
        assert read is None
    else:
        assert read is not None
        assert (read.status, read.result) == (DEVELOPER, {"error": error})


def test_a_reply_above_the_limit_is_cut_and_is_the_functions_error() -> None:
    # The recorded answer to a reply of 2,000,012 characters, by its length and digest.
    body = ('{"big": "' + "x" * 2_000_000 + '"}\n').encode()
    read = response.of_run(Replied(200, body[: MIB + 1], len(body)), max_result_bytes=MIB)
    assert (read.status, read.size) == (APPLICATION, 2_000_012)
    shown = json.dumps(read.result, separators=(",", ":")).encode()
    assert len(shown) == 1_048_709
    assert hashlib.sha256(shown).hexdigest() == ("0210993f6f5837f58ce84e6917c3d3f4e4707a1b29e726f1372ad3df4236a008")


def test_a_reply_of_exactly_the_limit_is_whole() -> None:
    body = json.dumps({"a": "x" * (MIB - 9)}).encode()
    assert len(body) == MIB
    assert response.of_run(Replied(200, body, MIB), max_result_bytes=MIB).status is SUCCESS


def test_a_cut_in_the_middle_of_a_character_does_no_harm() -> None:
    read = response.of_run(Replied(200, "☃☃☃☃".encode(), 12), max_result_bytes=4)
    assert isinstance(read.result, dict)
    assert str(read.result["error"]).endswith("The truncated response was: ☃\ufffd")


@pytest.mark.parametrize(
    ("status", "keeps"),
    [(SUCCESS, True), (APPLICATION, True), (DEVELOPER, False), (Status.WHISK_ERROR, False)],
)
def test_a_container_serves_again_only_after_the_functions_own_answers(status: Status, keeps: bool) -> None:
    assert Response(status, {}).keeps_container is keeps


def test_a_start_that_failed_is_the_platforms_fault() -> None:
    failed = response.of_failed_start()
    assert (failed.status, failed.result) == (
        Status.WHISK_ERROR,
        {"error": "Failed to provision resources to run the action."},
    )
