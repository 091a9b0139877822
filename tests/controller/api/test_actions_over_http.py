"""Creating, updating, showing, listing and deleting actions."""

from __future__ import annotations

import base64

import pytest
from hand_clock import HandClock
from rest_client import RestClient

ECHO = "def main(args):\n    return args\n"


def test_a_created_action_has_the_defaults_of_openwhisk(client: RestClient, clock: HandClock) -> None:
    assert client.create("hello", ECHO).json == {
        "namespace": "guest",
        "name": "hello",
        "version": "0.0.1",
        "publish": False,
        "exec": {"kind": "python:3", "code": ECHO, "binary": False},
        "parameters": [],
        "annotations": [{"key": "provide-api-key", "value": False}, {"key": "exec", "value": "python:3"}],
        "limits": {"timeout": 60000, "memory": 256, "logs": 10, "concurrency": 1},
        "updated": clock.ms,
    }


def test_an_action_that_exists_is_not_created_again(client: RestClient) -> None:
    client.create("hello")
    answer = client.put("actions/hello", {"exec": {"kind": "python:3", "code": "x"}})
    assert (answer.status, answer.error) == (409, "resource already exists")
    assert client.get("actions/hello").json["exec"]["code"] == ECHO


def test_an_update_leaves_alone_what_it_does_not_name(client: RestClient) -> None:
    client.create("hello", parameters=[{"key": "a", "value": 1}], limits={"memory": 128})
    answer = client.put("actions/hello?overwrite=true", {"limits": {"timeout": 1000}})
    assert answer.json["version"] == "0.0.2"
    assert answer.json["limits"] == {"timeout": 1000, "memory": 128, "logs": 10, "concurrency": 1}
    assert answer.json["parameters"] == [{"key": "a", "value": 1}]
    assert answer.json["exec"]["code"] == ECHO


def test_an_update_merges_annotations_and_can_drop_some(client: RestClient) -> None:
    client.create("hello", annotations=[{"key": "a", "value": 1}, {"key": "b", "value": 2}])
    change = {"annotations": [{"key": "b", "value": 3}], "delAnnotations": ["a"]}
    notes = client.put("actions/hello?overwrite=true", change).json["annotations"]
    assert {note["key"]: note["value"] for note in notes} == {"b": 3, "provide-api-key": False, "exec": "python:3"}


def test_overwriting_what_is_not_there_creates_it(client: RestClient) -> None:
    answer = client.put("actions/hello?overwrite=true", {"exec": {"kind": "python:3", "code": ECHO}})
    assert (answer.status, answer.json["version"]) == (200, "0.0.1")


def test_code_is_left_out_when_it_is_not_wanted(client: RestClient) -> None:
    client.create("hello")
    assert client.get("actions/hello?code=false").json["exec"] == {"kind": "python:3", "binary": False}


def test_an_archive_is_told_by_its_content_not_by_the_request(client: RestClient) -> None:
    archive = base64.b64encode(b"PK\x03\x04 an archive").decode()
    body = {"exec": {"kind": "python:3", "code": archive, "binary": False, "main": "go"}}
    assert client.put("actions/zipped", body).json["exec"] == {
        "kind": "python:3",
        "code": archive,
        "binary": True,
        "main": "go",
    }
    assert client.get("actions/zipped").json["exec"]["code"] == archive


@pytest.mark.parametrize(
    ("asked", "resolved"),
    [("python:default", "python:3"), ("pytorch:default", "pytorch:2"), ("PyTorch:2", "pytorch:2")],
)
def test_a_default_kind_is_resolved(client: RestClient, asked: str, resolved: str) -> None:
    answer = client.put("actions/hello", {"exec": {"kind": asked, "code": ECHO}})
    assert answer.json["exec"]["kind"] == resolved


def test_a_deleted_action_is_gone(client: RestClient) -> None:
    client.create("hello")
    assert client.delete("actions/hello").json["exec"]["code"] == ECHO
    assert client.get("actions/hello").status == 404
    assert client.delete("actions/hello").status == 404


def test_a_list_has_the_latest_update_first_and_pages(client: RestClient, clock: HandClock) -> None:
    for number in range(5):
        clock.ms += 1
        client.create(f"a{number}")
    clock.ms += 1
    client.put("actions/a1?overwrite=true", {})
    names = [action["name"] for action in client.get("actions").json]
    assert names == ["a1", "a4", "a3", "a2", "a0"]
    assert [a["name"] for a in client.get("actions?skip=1&limit=2").json] == ["a4", "a3"]
    assert client.get("actions?count=true").json == {"actions": 5}
    assert client.get("actions?count=true&skip=2").json == {"actions": 3}
    assert client.get("actions?skip=9").json == []


def test_a_limit_of_zero_means_as_many_as_there_may_be(client: RestClient) -> None:
    for number in range(31):
        client.create(f"a{number}")
    assert len(client.get("actions").json) == 30
    assert len(client.get("actions?limit=0").json) == 31


def test_a_line_of_a_list_tells_the_kind_by_its_annotation(client: RestClient) -> None:
    client.create("hello")
    (line,) = client.get("actions").json
    assert set(line) == {
        "annotations",
        "exec",
        "limits",
        "name",
        "namespace",
        "publish",
        "updated",
        "version",
    }
    assert line["exec"] == {"binary": False}
    assert {"key": "exec", "value": "python:3"} in line["annotations"]


@pytest.mark.parametrize("name", ["with blank", "a@b", "a&b", "a.b-c", "_x", "9"])
def test_unusual_names_work_percent_encoded(client: RestClient, name: str) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in name.encode())
    assert client.create(encoded).json["name"] == name
    assert client.get(f"actions/{encoded}").json["name"] == name
    assert client.invoke(encoded, {"n": 1}, "&result=true").json == {"n": 1}
    assert client.delete(f"actions/{encoded}").status == 200


@pytest.mark.parametrize("name", ["%C3%BC", "%F0%9F%A6%8B", "a%20", "%20a", "a%23", "a%5C", "a%00b", "-a", "a%0A"])
def test_names_that_openwhisk_does_not_allow_are_refused(client: RestClient, name: str) -> None:
    answer = client.put(f"actions/{name}", {"exec": {"kind": "python:3", "code": ECHO}})
    assert (answer.status, answer.error) == (400, "The name of the entity contains illegal characters.")


def test_a_name_has_at_most_256_characters(client: RestClient) -> None:
    client.create("a" * 256)
    answer = client.put(f"actions/{'a' * 257}", {"exec": {"kind": "python:3", "code": ECHO}})
    assert (answer.status, answer.error) == (400, "Name longer than allowed: 257 > 256.")


def test_code_and_parameters_may_hold_any_character(client: RestClient) -> None:
    code = "def main(args):\n    return {'❄': '☃ \U0001f98b'}\n"
    client.create("snow", code, parameters=[{"key": "ü", "value": "é\u0000"}])
    shown = client.get("actions/snow").json
    assert shown["exec"]["code"] == code
    assert shown["parameters"] == [{"key": "ü", "value": "é\u0000"}]
    assert client.invoke("snow", {}, "&result=true").json == {"❄": "☃ \U0001f98b"}


def test_fields_that_openwhisk_does_not_know_are_ignored(client: RestClient) -> None:
    body = {"namespace": "_", "name": "other", "updated": 1, "exec": {"kind": "python:3", "code": ECHO, "env": {}}}
    assert client.put("actions/hello", body).json["name"] == "hello"


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ({"exec": {"code": "x"}}, "'kind' must be a string defined in 'exec'"),
        ({"exec": {"kind": "python:3"}}, "'code' must be a string"),
        ({"exec": {"kind": "python:3", "code": 1}}, "'code' must be a string"),
        ({"exec": {"kind": "python:3", "code": "x", "main": 1}}, "'main' must be a string"),
        ({"exec": "x"}, "'exec' must be an object"),
        ([], "JSON object expected"),
        ({"limits": {"memory": "256"}}, "'memory' must be a whole number"),
        ({"limits": {"memory": True}}, "'memory' must be a whole number"),
        ({"limits": {"memory": 1.5}}, "'memory' must be a whole number"),
        ({"limits": [1]}, "limits must be an object"),
        ({"parameters": {"a": 1}}, "parameters malformed!"),
        ({"parameters": [{"value": 1}]}, "parameters malformed!"),
        ({"annotations": [1]}, "annotations malformed!"),
        ({"version": "1"}, "a version is three numbers"),
        ({"publish": "yes"}, "'publish' must be true or false"),
        ({"delAnnotations": [1]}, "'delAnnotations' must be an array of keys"),
    ],
)
def test_a_request_of_the_wrong_shape_is_refused_with_its_field(client: RestClient, body: object, text: str) -> None:
    answer = client.put("actions/hello", body)
    assert answer.status == 400
    assert answer.error.startswith("The request content was malformed:\n")
    assert text in answer.error


def test_an_init_parameter_must_be_able_to_be_an_environment_variable(client: RestClient) -> None:
    client.create("hello", parameters=[{"key": "A=B", "value": 1, "init": True}])
    answer = client.invoke("hello")
    assert answer.status == 400
    assert "init parameter 'A=B' cannot become an environment variable" in answer.error
