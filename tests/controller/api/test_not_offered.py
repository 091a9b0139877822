"""What OpenWhisk offers and this server does not: said so on every route, and listed in the document it names."""

from __future__ import annotations

from pathlib import Path

import pytest
from rest_client import RestClient

DIFFERENCES = Path(__file__).parents[3] / "docs" / "differences.md"

SEQUENCE = {"exec": {"kind": "sequence", "components": ["/_/a"]}}
BLACKBOX = {"exec": {"kind": "blackbox", "image": "some/image"}}


@pytest.mark.parametrize(
    ("method", "path", "body", "what"),
    [
        ("PUT", "triggers/t", {}, "Triggers"),
        ("GET", "triggers/t", None, "Triggers"),
        ("POST", "triggers/t", {}, "Triggers"),
        ("DELETE", "triggers/t", None, "Triggers"),
        ("PUT", "rules/r", {}, "Rules"),
        ("GET", "rules/r", None, "Rules"),
        ("POST", "rules/r", {"status": "active"}, "Rules"),
        ("PUT", "actions/s", SEQUENCE, "Sequences"),
        ("PUT", "actions/b", BLACKBOX, "Docker images as actions"),
        ("GET", "/api/v1/web/guest/default/web.json", None, "Web actions"),
        ("POST", "/api/v1/web/guest/default/web", {}, "Web actions"),
        ("GET", "/api/v1/api-docs", None, "Swagger documents"),
        ("GET", "/docs", None, "Swagger documents"),
        ("POST", "/disable", {}, "Operator's switches"),
    ],
)
def test_a_route_that_is_not_offered_says_so(
    client: RestClient, method: str, path: str, body: object, what: str
) -> None:
    answer = client.send(method, path, body)
    assert answer.status == 501
    assert answer.error.startswith(what)
    assert "not offered by `instar serve`; see docs/differences.md" in answer.error
    assert f"| {what}" in DIFFERENCES.read_text(encoding="utf-8")


def test_a_conductor_is_stored_but_not_invoked_as_if_it_were_plain(client: RestClient) -> None:
    client.create("cond", annotations=[{"key": "conductor", "value": True}])
    answer = client.invoke("cond")
    assert answer.status == 501
    assert "| Conductor actions" in DIFFERENCES.read_text(encoding="utf-8")


@pytest.mark.parametrize("collection", ["triggers", "rules"])
def test_lists_of_what_cannot_be_are_empty(client: RestClient, collection: str) -> None:
    assert client.get(f"{collection}?limit=0&skip=0").json == []
    assert client.get(f"{collection}?count=true").json == {collection: 0}
    assert client.get(f"{collection}?limit=201").status == 400


def test_triggers_and_rules_too_need_a_key(client: RestClient) -> None:
    assert client.get("triggers/t", headers={"Authorization": "Basic eDp5"}).status == 401
