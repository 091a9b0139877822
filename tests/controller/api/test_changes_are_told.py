"""Who follows the actions hears of each write and deletion, after it is done, and of nothing that was refused."""

from __future__ import annotations

import dataclasses

import pytest
from rest_client import RestClient

from instar_controller.api.app import create_app
from instar_controller.api.services import Services
from instar_controller.clients.memory import MemoryStore
from instar_controller.errors import NotFoundError
from instar_controller.whisk.document import Key
from instar_controller.whisk.identity import Identity

CODE = {"exec": {"kind": "python:3", "code": "def main(args):\n    return args\n"}}


@pytest.fixture
def told() -> list[tuple[str, bool]]:
    """What was told of, and whether it was there at that moment."""
    return []


@pytest.fixture
def client(services: Services, store: MemoryStore, guest: Identity, told: list[tuple[str, bool]]) -> RestClient:
    def note(key: Key) -> None:
        try:
            store.get(key)
        except NotFoundError:
            told.append((f"{key.collection.value} {key}", False))
        else:
            told.append((f"{key.collection.value} {key}", True))

    return RestClient(create_app(dataclasses.replace(services, on_change=note)), guest)


def test_each_write_and_deletion_is_told_after_it_is_done(client: RestClient, told: list[tuple[str, bool]]) -> None:
    assert client.send("PUT", "actions/f", CODE).status == 200
    assert client.send("PUT", "actions/f?overwrite=true", CODE).status == 200
    assert client.send("DELETE", "actions/f").status == 200
    assert told == [("actions guest/f", True), ("actions guest/f", True), ("actions guest/f", False)]


def test_a_package_that_is_deleted_by_force_tells_of_its_actions(
    client: RestClient, told: list[tuple[str, bool]]
) -> None:
    assert client.send("PUT", "packages/p", {}).status == 200
    assert client.send("PUT", "actions/p/f", CODE).status == 200
    assert client.send("DELETE", "packages/p?force=true").status == 200
    assert told == [
        ("packages guest/p", True),
        ("actions guest/p/f", True),
        ("actions guest/p/f", False),
        ("packages guest/p", False),
    ]


def test_what_is_refused_or_only_read_is_not_told(client: RestClient, told: list[tuple[str, bool]]) -> None:
    assert client.send("PUT", "actions/f", CODE).status == 200
    told.clear()
    assert client.send("PUT", "actions/f", CODE).status == 409
    assert client.send("PUT", "actions/g", {}).status == 400
    assert client.send("DELETE", "actions/g").status == 404
    assert client.send("GET", "actions/f").status == 200
    assert client.send("GET", "actions").status == 200
    assert told == []
