"""Every message that a stock OpenWhisk put on its bus is understood, and would be written as it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

import pytest
from wire_recordings import Recorded, cut_messages, messages

from instar_controller.whisk import acks, activation_message, invalidation, pings
from instar_controller.whisk.acks import CombinedMessage, CompletionMessage, ResultMessage
from instar_controller.whisk.values import JsonObject
from instar_controller.whisk.wire_activation import WireActivation


class Message(Protocol):
    def to_json(self) -> JsonObject: ...

    def encode(self) -> bytes: ...


PARSERS: dict[str, Callable[[bytes], Message]] = {
    "invoker0": activation_message.parse,
    "completed0": acks.parse,
    "health": pings.parse,
    "cacheInvalidation": invalidation.parse,
}
RECORDED = [(topic, recorded) for topic in PARSERS for recorded in messages(topic)]


@pytest.mark.parametrize(("topic", "recorded"), RECORDED, ids=str)
def test_a_recorded_message_is_read_and_written_back(topic: str, recorded: Recorded) -> None:
    message = PARSERS[topic](recorded.text.encode())
    assert message.to_json() == recorded.value
    assert PARSERS[topic](message.encode()) == message


def test_no_recording_is_left_out() -> None:
    assert {topic: len(messages(topic)) for topic in PARSERS} == {
        "invoker0": 52,
        "completed0": 91,
        "health": 4,
        "cacheInvalidation": 25,
    }
    assert {topic: cut_messages(topic) for topic in PARSERS if cut_messages(topic)} == {"completed0": 3}


@pytest.mark.parametrize("recorded", messages("completed0"), ids=str)
def test_an_acknowledgement_is_told_by_what_it_holds(recorded: Recorded) -> None:
    kinds: dict[type, str] = {
        ResultMessage: "ResultMessage",
        CompletionMessage: "CompletionMessage",
        CombinedMessage: "CombinedCompletionAndResultMessage",
    }
    ack = acks.parse(recorded.text.encode())
    assert recorded.label.split()[1] == kinds[type(ack)]


def test_each_acknowledgement_answers_an_activation_under_its_transaction() -> None:
    asked = {
        message.activation_id: message
        for message in (activation_message.parse(recorded.text.encode()) for recorded in messages("invoker0"))
    }
    for recorded in messages("completed0"):
        ack = acks.parse(recorded.text.encode())
        message = asked[ack.activation_id]
        assert ack.transid == message.transid, recorded.label
        if not isinstance(ack, CompletionMessage) and isinstance(ack.response, WireActivation):
            assert ack.response.cause == message.cause
            assert ack.response.note("path") == message.action.full_name
            assert ack.response.note("binding") == message.action.binding


def test_waiting_is_counted_from_the_time_in_the_transaction() -> None:
    for recorded in messages("completed0"):
        ack = acks.parse(recorded.text.encode())
        if isinstance(ack, CompletionMessage) or not isinstance(ack.response, WireActivation):
            continue
        record, started_ms = ack.response, ack.transid.start_ms
        # the start of a record is that of /init, or of /run where there was none, but for what the clock rounds off
        assert started_ms is not None
        assert record.note("waitTime") == pytest.approx(record.start - started_ms, abs=4), recorded.label


def test_the_health_test_is_known_by_its_name() -> None:
    tests = [recorded for recorded in messages("invoker0") if recorded.label.endswith("health test")]
    for recorded in messages("invoker0"):
        message = activation_message.parse(recorded.text.encode())
        assert message.action.is_health_test == (recorded in tests)
        if message.action.is_health_test:
            assert (message.revision, message.content, message.blocking) == (None, None, False)
    assert len(tests) == 2


def test_limits_of_a_namespace_come_with_its_messages() -> None:
    limited = [
        message.user
        for message in (activation_message.parse(recorded.text.encode()) for recorded in messages("invoker0"))
        if message.user.namespace == "limited"
    ]
    assert limited
    for user in limited:
        assert isinstance(user.limits, Mapping) and user.limits["allowedKinds"] == ["python:3"]
        assert user.stores_activations
