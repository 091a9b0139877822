"""Invoking an action: blocking and not, results and records, parameters and limits."""

from __future__ import annotations

import threading

import pytest
from flask import Flask
from hand_clock import HandClock
from in_process import InProcess
from rest_client import RestClient

from instar_controller.api.app import create_app
from instar_controller.api.services import Services
from instar_controller.clients.memory import MemoryStore
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.identity import Identity
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.limits import Limits
from instar_controller.whisk.manifest import DEFAULT, Kind, Manifest

HEADER = "x-openwhisk-activation-id"


def test_a_blocking_invocation_answers_with_the_record(client: RestClient) -> None:
    client.create("echo")
    answer = client.invoke("echo", {"a": 1})
    record = answer.json
    assert answer.status == 200
    assert record["activationId"] == answer.headers[HEADER]
    assert record["response"] == {"result": {"a": 1}, "size": 9, "status": "success", "success": True}
    assert record["logs"] == []
    assert {note["key"] for note in record["annotations"]} == {"path", "waitTime", "kind", "timeout", "limits"}


def test_a_blocking_invocation_can_answer_with_the_result_alone(client: RestClient) -> None:
    client.create("echo")
    assert client.invoke("echo", {"a": [1.5, None]}, "&result=true").json == {"a": [1.5, None]}


def test_a_non_blocking_invocation_answers_with_the_id(client: RestClient, invocations: InProcess) -> None:
    client.create("echo")
    answer = client.post("actions/echo", {"a": 1})
    assert answer.status == 202
    assert answer.json == {"activationId": answer.headers[HEADER]}
    invocations.close()
    assert client.get(f"activations/{answer.headers[HEADER]}/result").json["result"] == {"a": 1}


def test_without_a_body_the_payload_is_empty(client: RestClient) -> None:
    client.create("echo")
    assert client.invoke("echo", None, "&result=true").json == {}


@pytest.mark.parametrize(
    ("code", "status", "result"),
    [
        ("def main(a): return {'error': 'no'}", 502, {"error": "no"}),
        ("def main(a): return {'error': {'code': 42}, 'other': 1}", 502, {"error": {"code": 42}}),
        ("def main(a): return 1 / 0", 502, {"error": "division by zero"}),
        (
            "def main(a): raise SystemExit",
            502,
            {"error": "The action did not produce a valid response and exited unexpectedly."},
        ),
        ("def main(a): return [1, {'a': 2}]", 200, [1, {"a": 2}]),
    ],
)
def test_how_the_action_ended_decides_the_status(client: RestClient, code: str, status: int, result: object) -> None:
    client.create("some", code)
    answer = client.invoke("some", {}, "&result=true")
    assert (answer.status, answer.json) == (status, result)


def test_an_array_is_shown_bare_even_where_the_record_was_asked_for(client: RestClient) -> None:
    client.create("arr", "def main(a): return [1, 2]")
    assert client.invoke("arr").json == [1, 2]


def test_a_failed_blocking_invocation_has_no_code_at_its_top(client: RestClient) -> None:
    # By that `wsk` tells a function's error from an error of the API.
    client.create("bad", "def main(a): return {'error': 'no'}")
    assert "code" not in client.invoke("bad").json


def test_parameters_of_the_request_override_those_of_the_action(client: RestClient) -> None:
    client.create("echo", parameters=[{"key": "a", "value": 1}, {"key": "b", "value": 2}])
    assert client.invoke("echo", {"b": 3}, "&result=true").json == {"a": 1, "b": 3}


def test_init_parameters_become_environment_and_no_arguments(client: RestClient) -> None:
    client.create(
        "env",
        "def main(args): return {'env': ENV, 'args': args}",
        parameters=[
            {"key": "TEXT", "value": "t", "init": True},
            {"key": "TREE", "value": {"a": [1, None]}, "init": True},
            {"key": "NONE", "value": None, "init": True},
            {"key": "YES", "value": True, "init": True},
            {"key": "plain", "value": 1},
        ],
    )
    assert client.invoke("env", {"x": 2}, "&result=true").json == {
        "env": {"TEXT": "t", "TREE": '{"a":[1,null]}', "NONE": "", "YES": "true"},
        "args": {"plain": 1, "x": 2},
    }


def test_final_parameters_cannot_be_overridden(client: RestClient) -> None:
    notes = [{"key": "final", "value": True}]
    client.create("fin", annotations=notes, parameters=[{"key": "fixed", "value": 1}])
    answer = client.invoke("fin", {"fixed": 2})
    assert answer.status == 400
    assert answer.error == "Request defines parameters that are not allowed (e.g., reserved properties)."
    assert client.invoke("fin", {"free": 2}, "&result=true").json == {"fixed": 1, "free": 2}


class Slow:
    """An `Invocations` that completes nothing until it is told to."""

    def __init__(self, inner: InProcess) -> None:
        self._inner = inner
        self.may_go = threading.Event()

    def submit(self, invocation: Invocation):  # type: ignore[no-untyped-def]
        return self._inner._pool.submit(self._late, invocation)

    def _late(self, invocation: Invocation) -> Activation:
        assert self.may_go.wait(60)
        return self._inner._carry_out(invocation)

    def invokers(self) -> dict[str, str]:
        return {"invoker0": "up"}


@pytest.fixture
def slow(invocations: InProcess) -> Slow:
    return Slow(invocations)


@pytest.fixture
def slow_client(store: MemoryStore, slow: Slow, clock: HandClock, guest: Identity) -> RestClient:
    app: Flask = create_app(Services(store, slow, clock, Limits(max_wait_ms=50)))
    return RestClient(app, guest)


@pytest.mark.parametrize("query", ["", "&timeout=1"])
def test_what_takes_longer_than_the_wait_is_answered_with_its_id(
    slow_client: RestClient, slow: Slow, invocations: InProcess, query: str
) -> None:
    slow_client.create("echo")
    answer = slow_client.invoke("echo", {"a": 1}, query)
    assert (answer.status, answer.json) == (202, {"activationId": answer.headers[HEADER]})
    slow.may_go.set()
    invocations.close()
    assert slow_client.get(f"activations/{answer.headers[HEADER]}/result").json["result"] == {"a": 1}


def test_what_is_in_flight_is_shown_until_it_is_completed(
    slow_client: RestClient, slow: Slow, invocations: InProcess
) -> None:
    slow_client.create("echo")
    id = slow_client.post("actions/echo", {}).json["activationId"]
    assert slow_client.get("/activation").json == [[id, "guest/echo@0.0.1"]]
    assert slow_client.get("/activation/count").json == 1
    slow.may_go.set()
    invocations.close()
    assert slow_client.get("/activation").json == []


@pytest.mark.parametrize("timeout", ["60001", "-1", "x", "1.5", ""])
def test_the_wait_is_a_number_of_milliseconds_up_to_a_minute(client: RestClient, timeout: str) -> None:
    client.create("echo")
    answer = client.invoke("echo", {}, f"&timeout={timeout}")
    assert answer.status == 400
    assert answer.error == (
        "The query parameter 'timeout' was malformed:\nTimeout must be number of milliseconds up to 60000."
    )


def test_without_an_invoker_that_is_up_nothing_is_started(client: RestClient, invocations: InProcess) -> None:
    client.create("echo")
    invocations.is_up = False
    answer = client.invoke("echo")
    assert answer.status == 503
    assert answer.error == ("The server is currently unavailable (because it is overloaded or down for maintenance).")
    assert client.get("/activation").json == []
    assert client.get("/invokers").json == {"invoker0": "unhealthy"}
    assert client.get("/invokers/ready").json == {"unhealthy": "1/1"}
    assert client.get("/invokers/healthy/count").json == 0


def test_an_update_is_invoked_from_its_moment_on(client: RestClient, invocations: InProcess) -> None:
    client.create("v", "def main(a): return {'v': 1}")
    assert client.invoke("v", {}, "&result=true").json == {"v": 1}
    client.put("actions/v?overwrite=true", {"exec": {"kind": "python:3", "code": "def main(a): return {'v': 2}"}})
    assert client.invoke("v", {}, "&result=true").json == {"v": 2}
    first, second = invocations.seen
    assert first.container_key != second.container_key


def test_two_calls_of_one_version_may_share_a_container(client: RestClient, invocations: InProcess) -> None:
    client.create("echo")
    client.invoke("echo", {"a": 1})
    client.invoke("echo", {"a": 2})
    first, second = invocations.seen
    assert first.container_key == second.container_key


def test_a_recreated_action_never_meets_the_containers_of_its_forerunner(
    client: RestClient, invocations: InProcess
) -> None:
    for _ in range(2):
        client.create("echo")
        client.invoke("echo")
        client.delete("actions/echo")
    first, second = invocations.seen
    assert first.container_key != second.container_key


def test_another_environment_needs_another_container(client: RestClient, invocations: InProcess) -> None:
    client.create("env", parameters=[{"key": "DIR", "value": "/a", "init": True}])
    client.invoke("env")
    client.invoke("env", {"DIR": "/b"})
    first, second = invocations.seen
    assert second.environment == {"DIR": "/b"}
    assert first.container_key != second.container_key


def test_a_kind_that_is_out_of_use_is_read_but_not_invoked(
    store: MemoryStore, invocations: InProcess, clock: HandClock, guest: Identity, client: RestClient
) -> None:
    client.create("old")
    retired = Manifest({**DEFAULT.families, "python": (Kind("python:3", "image", True, deprecated=True),)})
    later = RestClient(create_app(Services(store, invocations, clock, manifest=retired)), guest)
    assert later.get("actions/old").status == 200
    answer = later.invoke("old")
    assert answer.status == 400
    assert answer.error.startswith("The 'python:3' runtime is no longer supported.")


def test_a_kind_that_left_the_manifest_is_said_so(
    store: MemoryStore, invocations: InProcess, clock: HandClock, guest: Identity, client: RestClient
) -> None:
    client.create("old")
    without = Manifest({"pytorch": DEFAULT.families["pytorch"]})
    later = RestClient(create_app(Services(store, invocations, clock, manifest=without)), guest)
    answer = later.invoke("old")
    assert answer.status == 400
    assert "not in this server's manifest" in answer.error


def test_the_transaction_id_of_the_request_reaches_the_invocation(client: RestClient, invocations: InProcess) -> None:
    client.create("echo")
    answer = client.post("actions/echo", {}, headers={"X-Request-ID": "mine-1"})
    assert answer.headers["X-Request-ID"] == "mine-1"
    assert invocations.seen[-1].transaction_id == "mine-1"


def test_a_request_may_ask_for_extra_logging(client: RestClient, invocations: InProcess) -> None:
    client.create("echo")
    client.post("actions/echo", {}, headers={"X-OW-EXTRA-LOGGING": "on"})
    client.post("actions/echo", {}, headers={"X-OW-EXTRA-LOGGING": "off"})
    client.post("actions/echo", {})
    assert [each.extra_logging for each in invocations.seen] == [True, False, False]
