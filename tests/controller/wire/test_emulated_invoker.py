"""The good, odd and broken messages that a real controller was tried with are understood here as it did."""

from __future__ import annotations

import json
from typing import Any

import pytest
from wire_recordings import experiments, messages

from instar_controller.errors import MalformedError
from instar_controller.whisk import acks, pings
from instar_controller.whisk.acks import CombinedMessage, ResultMessage
from instar_controller.whisk.instances import InvokerInstance
from instar_controller.whisk.response import Status
from instar_controller.whisk.transid import TransactionId
from instar_controller.whisk.wire_activation import WireActivation

OBSERVED: dict[str, Any] = {name.strip(): found for name, found in experiments()}
INSTANCE = InvokerInstance(2, 1 << 31, unique_name="fake", displayed_name="10.0.0.9").to_json()
PING = {"name": INSTANCE, "isEnabled": True}
HEALTH = next(json.loads(m.text) for m in messages("invoker0") if m.label.endswith("health test"))
ACK = {
    "transid": HEALTH["transid"],
    "activationId": HEALTH["activationId"],
    "isSystemError": False,
    "instance": INSTANCE,
}
RESULT = next(json.loads(m.text) for m in messages("completed0") if "ResultMessage for: action" in m.label)
HEALTHY, TRIED = "up", '"invoker2'


def without(value: Any, *path: str) -> bytes:
    """`value` as a message that lacks what the path leads to."""
    copy = json.loads(json.dumps(value))
    holder = copy
    for key in path[:-1]:
        holder = holder[key]
    del holder[path[-1]]
    return json.dumps(copy).encode()


def is_understood(parse: Any, message: bytes) -> bool:
    try:
        parse(message)
    except MalformedError:
        return False
    return True


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ("ping without instanceType", without(PING, "name", "instanceType")),
        (
            "ping without tags and dedicatedNamespaces",
            without(json.loads(without(PING, "name", "tags")), "name", "dedicatedNamespaces"),
        ),
        ("ping without isEnabled", without(PING, "isEnabled")),
        (
            "valid pings with an unknown extra key, uniqueName, displayedName; ids 1 never pinged",
            json.dumps({**PING, "extra": 1, "name": {**INSTANCE, "extra": []}}).encode(),
        ),
    ],
    ids=str,
)
def test_a_ping_makes_an_invoker_known_if_a_controller_would_know_it(experiment: str, message: bytes) -> None:
    known = TRIED in OBSERVED[experiment]
    assert is_understood(pings.parse, message) == known


def test_each_of_tags_and_dedicated_namespaces_is_wanted() -> None:
    for key in ("tags", "dedicatedNamespaces"):
        assert not is_understood(pings.parse, without(PING, "name", key))


def test_a_disabled_invoker_is_down() -> None:
    assert json.loads(OBSERVED["ping with isEnabled false"])["invoker2/fake/10.0.0.9"] == "down"
    assert not pings.parse(json.dumps({**PING, "isEnabled": False}).encode()).is_enabled
    assert pings.parse(without(PING, "isEnabled")).is_enabled


@pytest.mark.parametrize(
    ("experiment", "message"),
    [
        ("health ack whose instance lacks instanceType", without(ACK, "instance", "instanceType")),
        (
            "health ack whose instance lacks tags and dedicatedNamespaces",
            without(json.loads(without(ACK, "instance", "tags")), "instance", "dedicatedNamespaces"),
        ),
        ("health ack, verbatim transid, unknown extra key", json.dumps({**ACK, "extra": 1}).encode()),
    ],
    ids=str,
)
def test_a_health_test_counts_if_a_controller_counted_it(experiment: str, message: bytes) -> None:
    counted = json.loads(OBSERVED[experiment]).get("invoker2/fake/10.0.0.9") == HEALTHY
    assert is_understood(acks.parse, message) == counted


def test_a_health_test_is_answered_only_by_its_own_transaction() -> None:
    assert HEALTHY not in json.loads(OBSERVED["health ack whose transid start is off by one"]).get("invoker2", "")
    asked = acks.parse(json.dumps(ACK).encode()).transid
    off = acks.parse(json.dumps({**ACK, "transid": [ACK["transid"][0], ACK["transid"][1] + 1]}).encode()).transid
    assert off != asked
    assert asked.to_json() == HEALTH["transid"]


@pytest.mark.parametrize(
    "experiment", [name for name in OBSERVED if name.startswith("result whose")], ids=lambda name: name[13:50]
)
def test_a_result_reaches_the_client_if_it_did_there(experiment: str) -> None:
    field = experiment.split('"')[1]
    path = ("response", "response", field) if "response lacks" in experiment else ("response", field)
    assert is_understood(acks.parse, without(RESULT, *path)) == (OBSERVED[experiment]["status"] == 200)


def test_all_fields_of_a_result_were_tried() -> None:
    tried = [name for name in OBSERVED if name.startswith("result whose")]
    assert len(tried) == 8


@pytest.mark.parametrize(
    "experiment", ["result, then completion", "completion first, result 300 ms later", "combined"]
)
def test_results_and_completions_may_come_in_any_order_or_as_one(experiment: str) -> None:
    assert OBSERVED[experiment]["status"] == 200
    assert OBSERVED[experiment]["in-flight afterwards"] == "0"
    combined = acks.parse(json.dumps({**RESULT, "isSystemError": False, "instance": INSTANCE}).encode())
    result = acks.parse(json.dumps(RESULT).encode())
    assert isinstance(combined, CombinedMessage) and isinstance(result, ResultMessage)
    assert combined.response == result.response


def test_a_result_is_found_by_the_activation_not_by_the_transaction() -> None:
    assert OBSERVED["result without transid echo (other id), combined"]["status"] == 200
    other = acks.parse(json.dumps({**RESULT, "transid": "nonsense"}).encode())
    assert other.activation_id == RESULT["response"]["activationId"]
    assert other.transid == TransactionId("sid_unknown", None, "nonsense")


def test_a_shrunk_answer_names_the_record() -> None:
    assert OBSERVED["shrunk combined, record already in the database"]["status"] == 200
    for fields in (RESULT, {**RESULT, "isSystemError": True, "instance": INSTANCE}):
        whole = acks.parse(json.dumps(fields).encode())
        small = acks.shrunk(whole)
        assert small.to_json() == {**whole.to_json(), "response": whole.activation_id}
        assert acks.parse(small.encode()) == small
        assert acks.shrunk(small) == small
    completion = acks.parse(json.dumps(ACK).encode())
    assert acks.shrunk(completion) == completion


def test_logs_in_a_result_are_passed_on() -> None:
    assert '"logs":["2026' in OBSERVED["result with logs in the activation"]["body"]
    logs = ["2026-01-01T00:00:00.000000000Z stdout: x"]
    ack = acks.parse(json.dumps({**RESULT, "response": {**RESULT["response"], "logs": logs}}).encode())
    assert isinstance(ack, ResultMessage) and isinstance(ack.response, WireActivation)
    assert list(ack.response.logs) == logs


def test_the_platforms_fault_is_what_the_completion_says() -> None:
    """The client hears of status 3 whatever the completion says, and the invoker's health of what that says."""
    assert OBSERVED["statusCode 3 with isSystemError false"]["status"] == 500
    response = {**RESULT["response"], "response": {"statusCode": 3, "result": {"error": "x"}}}
    ack = acks.parse(
        json.dumps({**RESULT, "response": response, "isSystemError": False, "instance": INSTANCE}).encode()
    )
    assert isinstance(ack, CombinedMessage) and isinstance(ack.response, WireActivation)
    assert ack.response.response.status is Status.WHISK_ERROR and ack.response.is_system_error
    assert not ack.is_system_error


def test_nonsense_does_no_harm() -> None:
    assert OBSERVED["not JSON on completed0, then combined"]["status"] == 200
    assert not is_understood(acks.parse, b"not JSON")
    assert not is_understood(acks.parse, b"{}")
