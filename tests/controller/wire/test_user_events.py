"""Events say of an activation what the stock invoker's and controller's say."""

from __future__ import annotations

from dataclasses import replace

import pytest
from wire_recordings import Recorded, documents, messages

from instar_controller.errors import MalformedError
from instar_controller.whisk import events, stored_activation
from instar_controller.whisk.events import ActivationBody, MetricBody
from instar_controller.whisk.parameters import Parameter
from instar_controller.whisk.values import Json
from instar_controller.whisk.wire_activation import WireActivation

EVENTS = messages("events")
RECORDS = {
    record.activation_id: record
    for record in (stored_activation.parse(found.value).activation for found in documents("activation", "document"))
}


@pytest.mark.parametrize("recorded", EVENTS, ids=str)
def test_a_recorded_event_is_read_and_written_back(recorded: Recorded) -> None:
    event = events.parse(recorded.text.encode())
    assert event.to_json() == recorded.value
    assert events.parse(event.encode()) == event


def test_the_event_of_a_recorded_activation_is_the_recorded_one() -> None:
    compared = 0
    for recorded in EVENTS:
        event = events.parse(recorded.text.encode())
        record = RECORDS.get(event.body.activation_id) if isinstance(event.body, ActivationBody) else None
        if record is not None:
            made = events.of(record, source=event.source, user_id=event.user_id, now_ms=event.timestamp)
            assert made == event, recorded.label
            compared += 1
    assert compared >= 42  # those of which the record was kept whole


def test_both_kinds_of_events_are_among_the_recorded() -> None:
    bodies = [events.parse(recorded.text.encode()).body for recorded in EVENTS]
    assert len(bodies) == 55
    assert sum(isinstance(body, MetricBody) for body in bodies) == 5


@pytest.mark.parametrize(
    ("result", "code"),
    [
        ({"statusCode": 404}, 404),
        ({"error": {"statusCode": "404"}}, 404),
        ({"error": {"statusCode": 500}, "statusCode": 200}, 500),
        ({"error": "text", "statusCode": 200}, 200),
        ({"statusCode": "i404"}, 400),
        ({"statusCode": None}, 400),
        ({"statusCode": True}, 400),
        ({"statusCode": 1 << 40}, 400),
        ({"error": {}}, None),
        ([1, 2], None),
        (None, None),
    ],
)
def test_a_status_code_of_the_users_own_is_told(result: Json, code: int | None) -> None:
    assert events.user_defined_status_code(result) == code


@pytest.mark.parametrize(("limits", "memory_mb"), [({"memory": 128}, 128), ({}, 0), (None, 0), ({"memory": True}, 0)])
def test_the_memory_is_that_of_the_actions_limits(limits: Json, memory_mb: int) -> None:
    record = next(iter(RECORDS.values()))
    notes = (*(note for note in record.annotations if note.key != "limits"), Parameter("limits", limits))
    event = events.of(replace(record, annotations=notes), source="invoker0", user_id="u", now_ms=1)
    assert isinstance(event.body, ActivationBody) and event.body.memory_mb == memory_mb


def test_no_event_tells_of_what_does_not_say_which_action_ran() -> None:
    record: WireActivation = replace(next(iter(RECORDS.values())), annotations=())
    with pytest.raises(MalformedError, match="no annotation 'path'"):
        events.of(record, source="invoker0", user_id="u", now_ms=1)
