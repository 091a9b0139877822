"""What a container's answer to `/transform` says, and what is made of one that says something else."""

from __future__ import annotations

import pytest

from instar_controller.whisk import transformation


@pytest.mark.parametrize(
    ("body", "how"),
    [
        (b'{"ok":true,"instar":{"how":"transformed","model":"net","ms":{"plan":0.4}}}\n', "transformed"),
        (b'{"ok":true,"instar":{"how":"loaded","model":null,"ms":{}}}\n', "loaded"),
        (b'{"ok":true}\n', None),
        (b'{"ok":true,"instar":{"how":"by magic"}}', None),
        (b'{"ok":true,"instar":{"how":["loaded"]}}', None),
        (b'{"ok":true,"instar":"loaded"}', None),
        (b'["transformed"]', None),
        (b'{"instar":{"how":"loa', None),
        (b"\xff", None),
        (b"", None),
    ],
)
def test_how_is_one_of_two_words_or_not_told(body: bytes, how: str | None) -> None:
    assert transformation.how(body) == how


def test_why_it_loaded_is_told_only_where_it_says_so() -> None:
    assert transformation.why(b'{"instar":{"how":"loaded","why":"step 3\\nfailed"}}') == "step 3 failed"
    for body in (b'{"instar":{"how":"loaded"}}', b'{"instar":{"why":7}}', b'{"instar":{"why":""}}', b"{}", b"\xff"):
        assert transformation.why(body) is None


def test_a_refusal_says_why_on_one_line_of_bounded_length() -> None:
    assert transformation.reason(b'{"error":"a run is\\n under way"}') == "a run is under way"
    assert len(transformation.reason(b'{"error":"' + b"x" * 10_000 + b'"}')) == transformation.MAX_REASON


@pytest.mark.parametrize("body", [b"", b"{}", b'{"error":" "}', b'{"error":7}', b"[]", b"\xff"])
def test_a_refusal_without_a_reason_says_so(body: bytes) -> None:
    assert transformation.reason(body) == "it says no reason"
