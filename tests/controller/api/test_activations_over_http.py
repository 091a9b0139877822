"""Activation records: lists by name and time, single ones, results and logs."""

from __future__ import annotations

import pytest
from hand_clock import HandClock
from rest_client import RestClient

T0 = 1_800_000_000_000


@pytest.fixture
def ids(client: RestClient, clock: HandClock) -> list[str]:
    """Five activations, one a second: echo, printer, echo, printer, echo."""
    client.create("echo")
    client.create("printer", "print('imported')\ndef main(args): return {'n': 1}")
    made = []
    for number, name in enumerate(["echo", "printer", "echo", "printer", "echo"]):
        clock.ms = T0 + 1000 * number
        made.append(client.invoke(name).json["activationId"])
    return made


def listed(client: RestClient, query: str) -> list[str]:
    return [line["activationId"] for line in client.get(f"activations{query}").json]


def test_a_list_has_the_newest_first(client: RestClient, ids: list[str]) -> None:
    assert listed(client, "") == ids[::-1]
    assert listed(client, "?skip=1&limit=2") == [ids[3], ids[2]]
    assert client.get("activations?count=true").json == {"activations": 5}


def test_a_list_can_be_of_one_action(client: RestClient, ids: list[str]) -> None:
    assert listed(client, "?name=printer") == [ids[3], ids[1]]
    assert client.get("activations?name=printer&count=true").json == {"activations": 2}
    assert listed(client, "?name=nosuch") == []


def test_a_list_can_be_of_a_stretch_of_time(client: RestClient, ids: list[str]) -> None:
    assert listed(client, f"?since={T0 + 1000}&upto={T0 + 2000}") == [ids[2], ids[1]]
    assert listed(client, f"?since={T0 + 4001}") == []
    assert client.get(f"activations?since={T0 + 3000}&count=true").json == {"activations": 2}


def test_a_line_of_a_list_is_short(client: RestClient, ids: list[str]) -> None:
    line = client.get("activations?limit=1").json[0]
    assert set(line) == {
        "activationId",
        "annotations",
        "duration",
        "end",
        "name",
        "namespace",
        "publish",
        "start",
        "statusCode",
        "version",
    }
    assert line["statusCode"] == 0


def test_a_list_with_docs_has_whole_records(client: RestClient, ids: list[str]) -> None:
    newest, printed = client.get("activations?docs=true&limit=2").json
    assert newest == client.get(f"activations/{ids[4]}").json
    assert printed["logs"] == ["2026-01-01T00:00:00.000000000Z stdout: imported"]
    assert printed["response"]["result"] == {"n": 1}


def test_a_record_is_shown_in_parts(client: RestClient, ids: list[str]) -> None:
    record = client.get(f"activations/{ids[1]}").json
    assert client.get(f"activations/{ids[1]}/logs").json == {"logs": record["logs"]}
    assert client.get(f"activations/{ids[1]}/result").json == record["response"]
    assert record["response"] == {"result": {"n": 1}, "size": 9, "status": "success", "success": True}


def test_docs_and_count_do_not_go_together(client: RestClient) -> None:
    answer = client.get("activations?docs=true&count=true")
    assert (answer.status, answer.error) == (400, "The parameter 'docs' is not permitted with 'count'.")


@pytest.mark.parametrize(
    ("id", "text"),
    [
        ("xyz", "Activation id length is 3 but must be 32."),
        ("g" * 32, "The activation id is not valid."),
        ("A" * 32, "The activation id is not valid."),
    ],
)
def test_an_id_that_cannot_be_one_is_refused(client: RestClient, id: str, text: str) -> None:
    answer = client.get(f"activations/{id}")
    assert (answer.status, answer.error) == (400, text)


def test_another_namespaces_record_is_not_there(client: RestClient, stranger: RestClient, ids: list[str]) -> None:
    assert stranger.get(f"activations/{ids[0]}").status == 404
    assert stranger.get(f"/api/v1/namespaces/guest/activations/{ids[0]}").status == 403


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("name=a/b/c", "Parameter may be a 'simple' name or 'package-name/simple' name: a/b/c"),
        ("since=now", "Parameter is not a valid value for epoch seconds: now"),
        ("upto=1e3", "Parameter is not a valid value for epoch seconds: 1e3"),
        ("limit=201", "The value '201' is not in the range of 0 to 200 for activations."),
        ("limit=x", "The value 'x' is not an integer for activations."),
        ("skip=-1", "The value '-1' is not greater than or equal to 0 for activations."),
        ("docs=maybe", "'maybe' is not a valid Boolean value"),
        ("limit=" + "9" * 30, f"The value '{'9' * 30}' is not an integer for activations."),
    ],
)
def test_a_wrong_query_is_refused_with_its_parameter(client: RestClient, query: str, text: str) -> None:
    answer = client.get(f"activations?{query}")
    parameter = query.split("=")[0]
    assert answer.status == 400
    assert answer.error == f"The query parameter '{parameter}' was malformed:\n{text}"
