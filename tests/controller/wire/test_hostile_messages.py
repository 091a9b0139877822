"""Whatever arrives, it is a message or a `MalformedError`; and a message that is written is read as what it was."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import wire_strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_recordings import documents, messages

from instar_controller.errors import MalformedError
from instar_controller.whisk import (
    acks,
    activation_message,
    events,
    invalidation,
    locked,
    manifest,
    pings,
    response,
    stored_action,
    stored_activation,
    transid,
    values,
)
from instar_controller.whisk.response import Status

PARSERS: dict[str, Callable[[bytes], object]] = {
    "invoker0": activation_message.parse,
    "completed0": acks.parse,
    "health": pings.parse,
    "events": events.parse,
    "cacheInvalidation": invalidation.parse,
}
MESSAGES: dict[str, Callable[[], st.SearchStrategy[Any]]] = {
    "invoker0": wire_strategies.activation_messages,
    "completed0": wire_strategies.acknowledgements,
    "health": wire_strategies.pings,
    "events": wire_strategies.events,
    "cacheInvalidation": wire_strategies.invalidations,
}
DOCUMENTS: dict[str, Callable[[Any], object]] = {
    "action-inline": lambda found: stored_action.parse(found, manifest.DEFAULT),
    "activation": stored_activation.parse,
}
ODD: list[Any] = [None, True, -1, 1.5, 1 << 70, "", "\0/../x", "é", [], {}, [[]], [{}], {"key": 1}, ["a", -1]]


@pytest.mark.parametrize("topic", PARSERS)
@settings(deadline=None)  # other work on the machine is not the parser's
@given(data=st.data())
def test_what_is_written_is_read_as_what_it_was(topic: str, data: st.DataObject) -> None:
    message = data.draw(MESSAGES[topic]())
    assert PARSERS[topic](message.encode()) == message


@pytest.mark.parametrize("topic", PARSERS)
@settings(deadline=None)
@given(message=st.binary(max_size=200) | wire_strategies.json_values().map(lambda value: json.dumps(value).encode()))
def test_no_bytes_do_more_than_be_refused(topic: str, message: bytes) -> None:
    with pytest.raises(MalformedError):
        PARSERS[topic](message)


@pytest.mark.parametrize("topic", PARSERS)
def test_a_recorded_message_with_anything_odd_in_it_is_read_or_refused(topic: str) -> None:
    """Every field of recorded messages of each kind, at every depth, left out or replaced by each odd value."""
    seen = set()
    for recorded in messages(topic):
        value = json.loads(recorded.text)
        if (shape := tuple(sorted(value))) in seen:
            continue
        seen.add(shape)
        for changed in spoilt(value):
            text = json.dumps(changed)
            try:
                PARSERS[topic](text.encode())
            except MalformedError as refused:
                assert str(refused)


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_a_recorded_document_with_anything_odd_in_it_is_read_or_refused(kind: str) -> None:
    part = "document" if kind == "activation" else "sent"
    found = {"_rev": "1-0", **json.loads(documents(kind, part)[0].text)}
    DOCUMENTS[kind](found)
    for changed in spoilt(found):
        try:
            DOCUMENTS[kind](changed)
        except MalformedError as refused:
            assert str(refused)


@pytest.mark.parametrize("topic", PARSERS)
def test_a_message_cut_short_anywhere_is_refused(topic: str) -> None:
    text = messages(topic)[-1].text.encode()
    for length in range(len(text)):
        with pytest.raises(MalformedError):
            PARSERS[topic](text[:length])


@pytest.mark.parametrize("topic", PARSERS)
@pytest.mark.parametrize("opened", ["[", '{"a":', '{"transid":['])
def test_a_message_nested_too_deeply_is_refused(topic: str, opened: str) -> None:
    for depth in (10, 900, 1000, 1099, 1100, 4000, 100_000):
        with pytest.raises(MalformedError):
            PARSERS[topic](opened.encode() * depth)
        with pytest.raises(MalformedError):
            PARSERS[topic](b'{"name":' + b"[" * depth + b"]" * depth + b"}")


def test_whatever_a_controller_can_read_it_can_hand_over() -> None:
    """It reads 1,000 levels; a message that we could not parse would never be answered."""
    message = json.loads(messages("invoker0")[2].text)
    text = json.dumps({**message, "content": {"a": "here"}}).replace('"here"', "[" * 999 + "]" * 999)
    found = activation_message.parse(text.encode())
    assert activation_message.parse(found.encode()) == found
    content, _ = locked.merged(found, {})
    assert values.compact(content) == '{"a":' + "[" * 999 + "]" * 999 + "}"


def test_no_result_is_too_deep_for_a_controller() -> None:
    """It reads 1,000 levels, of which an answer takes some; a deeper result ends as none, not as an unread answer."""
    for depth, status in ((values.MAX_DEPTH, Status.SUCCESS), (values.MAX_DEPTH + 1, Status.DEVELOPER_ERROR)):
        body = b'{"a":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"
        result = response.of_run(response.Replied(200, body, len(body)), max_result_bytes=1 << 20)
        assert result.status is status
        record = stored_activation.parse(json.loads(documents("activation", "document")[0].text)).activation
        ack = acks.ResultMessage(transid.parse(None), replace(record, response=result))
        values.parse(ack.encode(), max_depth=1000)


def test_an_error_says_where_and_what_without_repeating_much() -> None:
    wrong = json.loads(messages("invoker0")[2].text)
    wrong["user"]["namespace"]["uuid"] = "x" * 10_000
    wrong["user"]["namespace"]["name"] = ["y" * 10_000]
    with pytest.raises(MalformedError, match="'user': 'namespace': 'name' must be a text, not ") as refused:
        activation_message.parse(values.compact(wrong).encode())
    assert len(str(refused.value)) < 300


def spoilt(value: Any) -> list[Any]:
    """`value` with one part left out or replaced, in every way."""
    if isinstance(value, dict):
        without = [{k: v for k, v in value.items() if k != key} for key in value]
        within = [{**value, key: changed} for key, item in value.items() for changed in [*ODD, *spoilt(item)]]
        return without + within
    if isinstance(value, list):
        return [
            [*value[:place], changed, *value[place + 1 :]]
            for place, item in enumerate(value)
            for changed in [*ODD, *spoilt(item)]
        ]
    return []
