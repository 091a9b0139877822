"""What a container reports of its weights beside an answer, and what it cannot make of that."""

from __future__ import annotations

import json

import pytest
from listeners import post, replying

from instar_controller.whisk import weights
from instar_controller.whisk.response import Replied
from instar_controller.whisk.weights import Amounts, Report

GOOD = {"fetchedBytes": 97_271_808, "presentBytes": 1024, "waitedMs": 41.7}
REPORT = Report(Amounts(present_bytes=1024, fetched_bytes=97_271_808), waited_ms=42)


def test_a_report_comes_with_the_answer() -> None:
    header = f"X-Instar-Weights: {json.dumps(GOOD)}\r\n".encode()
    reply = b"HTTP/1.1 200 OK\r\n" + header + b"Content-Length: 2\r\n\r\n{}"
    assert post(replying(reply)) == Replied(200, b"{}", 2, REPORT)


def test_what_is_more_than_a_report_is_no_matter() -> None:
    assert weights.parse_report(json.dumps({**GOOD, "of a later release": [1]})) == REPORT


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "{",
        "[]",
        "null",
        "1",
        json.dumps({**GOOD, "presentBytes": -1}),
        json.dumps({**GOOD, "fetchedBytes": 2**53}),
        json.dumps({**GOOD, "fetchedBytes": "1"}),
        json.dumps({**GOOD, "waitedMs": True}),
        json.dumps({**GOOD, "waitedMs": None}),
        json.dumps({"fetchedBytes": 1, "presentBytes": 1}),
        '{"fetchedBytes": 1, "presentBytes": 1, "waitedMs": NaN}',
        '{"fetchedBytes": 1, "presentBytes": 1, "waitedMs": 1e999}',
        '{"fetchedBytes": 1, "presentBytes": 1, "waitedMs": ' + "9" * 400 + "}",
        json.dumps(GOOD) + " " * weights.MAX_CHARACTERS,
        "[" * 500,
    ],
    ids=lambda header: str(header)[:40],
)
def test_what_is_no_report_is_ignored(header: str | None) -> None:
    assert weights.parse_report(header) is None


def test_an_answer_with_a_hostile_report_is_an_answer() -> None:
    header = b"X-Instar-Weights: " + b"9" * 60_000 + b"\r\n"
    assert post(replying(b"HTTP/1.1 200 OK\r\n" + header + b"Content-Length: 2\r\n\r\n{}")) == Replied(200, b"{}", 2)
