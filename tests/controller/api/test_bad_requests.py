"""Hostile and mistaken requests: each gets a clear error, in the form that `wsk` prints, and changes nothing."""

from __future__ import annotations

import base64
import json

import pytest
from flask import Flask
from hand_clock import HandClock
from in_process import InProcess
from rest_client import RestClient, basic

from instar_controller.api.app import create_app
from instar_controller.api.services import Services
from instar_controller.clients.memory import MemoryStore
from instar_controller.errors import StoreError
from instar_controller.whisk.identity import Identity
from instar_controller.whisk.limits import Limits

MIB = 1024 * 1024


@pytest.mark.parametrize(
    ("header", "text"),
    [
        (None, "The resource requires authentication, which was not supplied with the request"),
        ("Basic", "The supplied authentication is invalid"),
        ("Basic !!!", "The supplied authentication is invalid"),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), "The supplied authentication is invalid"),
        ("Basic " + base64.b64encode(b"nocolon").decode(), "The supplied authentication is invalid"),
        ("Bearer x", "The supplied authentication is invalid"),
    ],
)
def test_without_a_good_key_nothing_is_answered(app: Flask, header: str | None, text: str) -> None:
    answer = RestClient(app, None).get("actions", headers={} if header is None else {"Authorization": header})
    assert (answer.status, answer.error) == (401, text)
    assert answer.headers["WWW-Authenticate"] == 'Basic realm="OpenWhisk secure realm",charset=UTF-8'
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_wrong_key_and_an_unknown_uuid_are_told_the_same(app: Flask, guest: Identity) -> None:
    nobody = RestClient(app, None)
    wrong_key = nobody.get("actions", headers={"Authorization": basic(f"{guest.uuid}:{'x' * 64}")})
    unknown = nobody.get("actions", headers={"Authorization": basic(f"no-such-uuid:{guest.key}")})
    assert wrong_key.error == unknown.error == "The supplied authentication is invalid"


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b'{"exec":', 'input index 8 (line 1, position 9):\n{"exec":\n        ^\n'),
        (b"{\n  'a': 1}", "(line 2, position 3):\n  'a': 1}\n  ^\n"),
        (b'{"a": NaN}', "NaN is not JSON"),
        (b'{"a": -Infinity}', "-Infinity is not JSON"),
        (b'{"a": 1e999}', "the number 1e999 is too large"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"a": "\xff"}', "utf-8"),
        (b'{"a": ' + b"9" * 5000 + b"}", "Exceeds the limit"),
    ],
    ids=["cut", "quotes", "nan", "infinity", "huge", "deep", "latin", "digits"],
)
def test_a_body_that_is_no_json_is_refused_with_the_place(client: RestClient, body: bytes, detail: str) -> None:
    answer = client.put("actions/bad", raw=body)
    assert answer.status == 400
    assert answer.error.startswith("The request content was malformed:\n")
    assert detail in answer.error
    assert client.get("actions/bad").status == 404


def test_a_long_body_is_not_repeated_in_the_error(client: RestClient) -> None:
    answer = client.put("actions/bad", raw=b'{"exec": "' + b"x" * 500_000 + b'" oops}')
    assert answer.status == 400
    assert len(answer.body) < 1000


def test_a_put_without_a_body_is_refused(client: RestClient) -> None:
    answer = client.put("actions/bad")
    assert (answer.status, answer.error) == (400, "Request entity expected but not supplied")


@pytest.mark.parametrize("payload", [[1, 2], "x", 1, True])
def test_a_payload_must_be_an_object(client: RestClient, payload: object) -> None:
    client.create("echo")
    answer = client.invoke("echo", payload)
    assert answer.error == "The request content was malformed:\nJSON object expected"


@pytest.mark.parametrize("type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"])
def test_a_body_of_another_type_is_refused(client: RestClient, type: str) -> None:
    answer = client.put("actions/bad", raw=b"x", headers={"Content-Type": type})
    assert answer.status == 415
    assert answer.error == (f"The request's Content-Type [{type}] is not supported. Expected:\napplication/json")


def test_a_charset_beside_the_type_does_no_harm(client: RestClient) -> None:
    client.create("echo")
    headers = {"Content-Type": "application/json; charset=utf-8"}
    assert client.post("actions/echo?blocking=true", {"a": 1}, headers=headers).status == 200


def test_a_client_that_takes_no_json_gets_nothing_else(client: RestClient) -> None:
    client.create("echo")
    answer = client.get("actions/echo", headers={"Accept": "text/html"})
    assert answer.status == 406
    assert answer.error == ("Resource representation is only available with these types:\napplication/json")
    for accept in ("*/*", "application/*", "text/html, application/json;q=0.5"):
        assert client.get("actions/echo", headers={"Accept": accept}).status == 200


def test_code_above_its_limit_is_refused_and_at_its_limit_kept(
    store: MemoryStore, invocations: InProcess, clock: HandClock, guest: Identity
) -> None:
    limits = Limits(max_code_bytes=100)
    client = RestClient(create_app(Services(store, invocations, clock, limits)), guest)
    client.create("fits", "ü" * 50)
    answer = client.put("actions/huge", {"exec": {"kind": "python:3", "code": "ü" * 50, "main": "f"}})
    assert (answer.status, answer.error) == (413, "exec larger than allowed: 101 > 100 bytes.")
    assert client.get("actions/huge").status == 404


@pytest.mark.parametrize("field", ["parameters", "annotations"])
@pytest.mark.parametrize("entity", ["actions", "packages"])
def test_parameters_and_annotations_above_a_mebibyte_are_refused(client: RestClient, field: str, entity: str) -> None:
    body = {"exec": {"kind": "python:3", "code": "x"}, field: [{"key": "p", "value": "x" * MIB}]}
    answer = client.put(f"{entity}/big", body)
    assert answer.status == 413
    assert answer.error == f"{field} larger than allowed: {MIB + 3} > {MIB} bytes."


def test_a_payload_above_a_mebibyte_is_refused(client: RestClient) -> None:
    client.create("echo")
    size = len(json.dumps({"p": "x" * MIB}))
    answer = client.invoke("echo", {"p": "x" * MIB})
    assert (answer.status, answer.error) == (413, f"Request larger than allowed: {size} > {MIB} bytes.")


def test_a_body_above_the_bound_of_all_is_not_even_read(
    store: MemoryStore, invocations: InProcess, clock: HandClock, guest: Identity
) -> None:
    limits = Limits(max_body_bytes=1000)
    client = RestClient(create_app(Services(store, invocations, clock, limits)), guest)
    answer = client.put("actions/huge", raw=b" " * 1001)
    assert (answer.status, answer.body) == (400, b"Request too large")
    assert answer.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        ({"memory": 4096}, "memory size 4096 MB exceeds allowed threshold of 512 MB"),
        ({"memory": 1}, "memory size 1 MB below allowed threshold of 128 MB"),
        ({"timeout": 300_001}, "duration 300001 milliseconds exceeds allowed threshold of 300000 milliseconds"),
        ({"timeout": 1}, "duration 1 milliseconds below allowed threshold of 100 milliseconds"),
        ({"logs": 11}, "log size 11 MB exceeds allowed threshold of 10 MB"),
        ({"logs": -1}, "log size -1 MB below allowed threshold of 0 MB"),
        ({"concurrency": 4}, "concurrency 4 exceeds allowed threshold of 1"),
        ({"concurrency": 0}, "concurrency 0 below allowed threshold of 1"),
    ],
)
def test_a_limit_out_of_range_is_refused_with_the_range(client: RestClient, limit: dict[str, int], text: str) -> None:
    body = {"exec": {"kind": "python:3", "code": "x"}, "limits": limit}
    answer = client.put("actions/bad", body)
    assert (answer.status, answer.error) == (400, f"requirement failed: {text}")
    client.create("good")
    assert client.put("actions/good?overwrite=true", {"limits": limit}).status == 400
    assert client.get("actions/good").json["version"] == "0.0.1"


def test_an_unknown_kind_is_refused_with_those_there_are(client: RestClient) -> None:
    answer = client.put("actions/bad", {"exec": {"kind": "cobol:1", "code": "x"}})
    assert answer.error == (
        "The request content was malformed:\nThe specified runtime 'cobol:1' is not supported by this "
        "platform. Valid values are: 'pytorch:2', 'python:3'."
    )


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/v1/nothing"),
        ("GET", "/nothing"),
        ("PATCH", "actions/echo"),
        ("POST", "actions"),
        ("POST", "packages/ml"),
        ("POST", "activations"),
        ("DELETE", "activations/00000000000000000000000000000000"),
        ("PUT", "actions/a/b/c"),
        ("GET", "actions//x"),
        ("GET", "/api/v1//namespaces"),
        ("POST", "/ping"),
    ],
)
def test_what_is_no_route_is_not_found(client: RestClient, method: str, path: str) -> None:
    answer = client.send(method, path, {} if method != "GET" else None)
    assert (answer.status, answer.error) == (404, "The requested resource could not be found.")


def test_a_head_request_is_not_found_and_has_no_body(client: RestClient) -> None:
    client.create("hello")
    answer = client.send("HEAD", "actions/hello")
    assert (answer.status, answer.body) == (404, b"")


def test_errors_of_a_routes_own_logic_can_be_read_by_browsers(client: RestClient) -> None:
    answer = client.get("actions/nosuch")
    assert answer.status == 404
    assert answer.headers["Access-Control-Allow-Origin"] == "*"


@pytest.mark.parametrize("id", ["sid_invokerHealth", ""])
def test_a_system_id_is_not_taken_from_a_client(client: RestClient, id: str) -> None:
    given = client.get("actions", headers={"X-Request-ID": id}).headers["X-Request-ID"]
    assert len(given) == 32
    assert given.isalnum()


def test_a_fault_of_ours_is_an_internal_error_that_tells_no_details(
    app: Flask, store: MemoryStore, client: RestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **options: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(store, "list_documents", broken)
    answer = client.get("actions")
    assert (answer.status, answer.error) == (500, "There was an internal server error.")


def test_a_store_that_fails_says_why(store: MemoryStore, client: RestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object, **options: object) -> None:
        raise StoreError("cannot write to the store: database or disk is full; make room on its disk")

    monkeypatch.setattr(store, "put", full)
    answer = client.put("actions/hello", {"exec": {"kind": "python:3", "code": "x"}})
    assert answer.status == 500
    assert "make room on its disk" in answer.error
