"""JSON at the border: what is parsed can always be written again."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar_controller.whisk.values import MAX_DEPTH, MAX_MESSAGE_DEPTH, compact, parse

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates too
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | ANY_TEXT
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(ANY_TEXT, inner), max_leaves=10)


@settings(deadline=None)
@given(VALUES)
def test_whatever_was_parsed_can_be_written_and_parsed_again(value: Any) -> None:
    parsed = parse(json.dumps(value))
    assert parse(compact(parsed).encode("utf-8")) == parsed


@settings(deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_whatever_is_no_json_is_a_value_error(text: str | bytes) -> None:
    try:
        parsed = parse(text)
    except ValueError:
        return
    compact(parsed).encode("utf-8")


def test_a_proper_pair_of_surrogates_is_one_character() -> None:
    assert parse(r'"\ud83e\udd8b"') == "🦋"


def test_a_lone_surrogate_becomes_a_question_mark() -> None:
    assert parse(r'{"\ud83e": ["\udd8b!"]}') == {"?": ["?!"]}


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", "-Infinity", "1e400", "-1e400", "[" * 100_000, "9" * 5000, b"\xff"]
)
def test_what_could_not_be_written_again_is_refused(text: str | bytes) -> None:
    with pytest.raises(ValueError):
        parse(text)


def test_numbers_keep_their_kind() -> None:
    assert compact(parse('{"f":1000.0,"big":12345678901234567890,"n":1.5}')) == (
        '{"f":1000.0,"big":12345678901234567890,"n":1.5}'
    )


def nested(depth: int) -> str:
    return '{"a":[' * (depth // 2) + "[]" * (depth % 2) + "]}" * (depth // 2)


@pytest.mark.parametrize("calls", [0, 200])
def test_what_may_be_nested_does_not_depend_on_who_asks(calls: int) -> None:
    def deeper(more: int) -> None:
        if more:
            return deeper(more - 1)
        deepest = parse(nested(MAX_DEPTH))
        assert compact(deepest) == nested(MAX_DEPTH)
        assert parse(nested(MAX_DEPTH).replace("[]", r'["\ud83e"]')) is not None
        for depth in (MAX_DEPTH + 1, 2 * MAX_DEPTH, 100_000):
            with pytest.raises(ValueError, match="nested too deeply"):
                parse(nested(depth))

    deeper(calls)


def test_many_brackets_side_by_side_or_in_texts_are_not_deep() -> None:
    for text in ("[" + "[]," * 5000 + "{}]", '["' + "[{" * 5000 + '"]', r'["\"' + "[" * 5000 + r'\\",[]]'):
        assert compact(parse(text)) == text


def test_a_deeper_limit_may_be_asked_for() -> None:
    assert parse(nested(MAX_MESSAGE_DEPTH), max_depth=MAX_MESSAGE_DEPTH) is not None
    with pytest.raises(ValueError, match="nested too deeply"):
        parse(nested(MAX_MESSAGE_DEPTH + 1), max_depth=MAX_MESSAGE_DEPTH)
