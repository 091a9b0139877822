"""The views of the databases that tests make are OpenWhisk's: what the stock controller asked is answered alike."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from databases import Databases

pytestmark = pytest.mark.system

RECORDED = Path(__file__).parents[2] / "recorded" / "couchdb"


def documents() -> dict[str, Any]:
    """Every recorded document by its id, as it was before it was stored."""
    found = {}
    for file in sorted(RECORDED.glob("*.json")):
        if file.name == "requests.json":
            continue
        for entry in json.loads(file.read_text(encoding="utf-8")):
            text = entry.get("storedAfterwards") or entry.get("document")
            if text is None or "<cut: " in text:
                continue
            stored = json.loads(text)
            found[stored["_id"]] = without(stored, "_rev", "_attachments")
    return found


def asked() -> list[tuple[str, list[Any]]]:
    """What was asked of views, and the rows of the answers."""
    requests = json.loads((RECORDED / "requests.json").read_text(encoding="utf-8"))
    return [
        (entry["target"].lstrip("/"), json.loads(entry["responseBody"])["rows"])
        for entry in requests
        if "/_view/" in entry["target"] and "reduce=false" in entry["target"]
    ]


def without(fields: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name not in names}


def rows(databases: Databases, database: str, view: str, **query: Any) -> list[tuple[Any, Any]]:
    options = "&".join(f"{name}={json.dumps(value)}" for name, value in query.items())
    design, _, name = view.partition("/")
    found = databases.server.ask("GET", f"{database}/_design/{design}/_view/{name}?reduce=false&{options}")
    return [(row["key"], row["value"]) for row in found["rows"]]


def test_what_the_stock_controller_asked_is_answered_as_it_was(databases: Databases) -> None:
    known = documents()
    compared = 0
    for target, expected in asked():
        shown = [row for row in expected if row.get("doc") is not None or row["id"] in known]
        name = {"test_subjects": databases.subjects, "test_whisks": databases.entities}.get(
            target.split("/")[0], databases.activations
        )
        there = databases.server.documents(name)
        for row in shown:
            document = row.get("doc") or known[row["id"]]
            if row["id"] in there:
                databases.server.delete(name, row["id"], there[row["id"]]["_rev"])
            databases.server.put(name, without(document, "_rev", "_attachments"))
        found = databases.server.ask("GET", f"{name}/{target.partition('/')[2]}".replace("stale=update_after", ""))
        by_key = {(row["id"], json.dumps(row["key"])): row["value"] for row in found["rows"]}
        for row in shown:
            assert by_key[row["id"], json.dumps(row["key"])] == row["value"], target
            compared += 1
    assert compared >= 5  # subjects, activations of both kinds, actions, rules


def test_an_action_of_a_package_is_listed_under_both_names(databases: Databases) -> None:
    action = {"name": "f", "version": "0.0.1", "publish": False, "annotations": [], "limits": {}, "updated": 7}
    entity = {**action, "_id": "guest/ml/f", "namespace": "guest/ml", "exec": {"kind": "python:3", "binary": True}}
    databases.server.put(databases.entities, entity)
    summary = {**action, "namespace": "guest/ml", "exec": {"binary": True}}
    assert rows(databases, databases.entities, "whisks.v2.1.0/actions") == [
        (["guest", 7], summary),
        (["guest/ml", 7], summary),
    ]


def test_packages_triggers_and_rules_are_told_by_their_fields(databases: Databases) -> None:
    shared = {"namespace": "guest", "version": "0.0.1", "annotations": [], "updated": 7}
    binding = {"namespace": "whisk.system", "name": "utils"}
    for name, fields in {
        "ml": {"publish": True, "binding": {}, "parameters": []},
        "own": {"publish": False, "binding": {}, "parameters": []},
        "bound": {"publish": True, "binding": binding, "parameters": []},
        "t": {"publish": False, "parameters": [], "limits": {}, "rules": {}},
        "r": {"publish": False, "trigger": {"path": "guest", "name": "t"}, "action": {"path": "guest", "name": "f"}},
    }.items():
        databases.server.put(databases.entities, {**shared, **fields, "_id": f"guest/{name}", "name": name})

    def listed(view: str) -> dict[str, Any]:
        answer = databases.server.ask("GET", f"{databases.entities}/_design/whisks.v2.1.0/_view/{view}?reduce=false")
        return {row["id"].partition("/")[2]: row["value"] for row in answer["rows"]}

    assert {name: value["binding"] for name, value in listed("packages").items()} == {
        "ml": False,
        "own": False,
        "bound": binding,
    }
    assert list(listed("packages-public")) == ["ml"]
    assert list(listed("triggers")) == ["t"]
    assert listed("rules") == {"r": 1}
    assert listed("actions") == {}
