"""The annotation `sharing` says one thing only, and is held to it where an action is created or updated."""

from __future__ import annotations

import pytest
from rest_client import Answer, RestClient

from instar_controller.clients.memory import MemoryStore
from instar_controller.whisk import action as documents
from instar_controller.whisk.document import Collection, Key

NONE = [{"key": "sharing", "value": "none"}]


def notes(answer: Answer) -> dict[str, object]:
    return {note["key"]: note["value"] for note in answer.json["annotations"]}


def shares(store: MemoryStore) -> bool:
    stored = store.get(Key(Collection.ACTIONS, "guest", "hello"))
    return documents.from_document(stored, code="").shares_containers


def test_an_action_shares_its_containers_unless_it_says_otherwise(client: RestClient, store: MemoryStore) -> None:
    client.create("hello")
    assert shares(store)
    assert notes(client.put("actions/hello?overwrite=true", {"annotations": NONE}))["sharing"] == "none"
    assert not shares(store)


def test_it_stays_until_it_is_dropped(client: RestClient, store: MemoryStore) -> None:
    client.create("hello", annotations=NONE)
    client.put("actions/hello?overwrite=true", {"limits": {"timeout": 1000}})
    assert not shares(store)
    assert "sharing" not in notes(client.put("actions/hello?overwrite=true", {"delAnnotations": ["sharing"]}))
    assert shares(store)


@pytest.mark.parametrize("value", ["all", "None", "", None, False, {"with": "g"}], ids=repr)
def test_any_other_value_is_refused_and_changes_nothing(client: RestClient, value: object) -> None:
    wrong = [{"key": "sharing", "value": value}]
    code = {"kind": "python:3", "code": "def main(args): ..."}
    created = client.put("actions/hello", {"exec": code, "annotations": wrong})
    assert created.status == 400 and "The annotation 'sharing' is" in created.error
    assert 'can only be "none"' in created.error
    assert client.get("actions/hello").status == 404
    client.create("hello")
    assert client.put("actions/hello?overwrite=true", {"annotations": wrong}).status == 400
    assert client.get("actions/hello").json["version"] == "0.0.1"
