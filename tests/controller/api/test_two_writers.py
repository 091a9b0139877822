"""Racing requests for one document: one wins, the others are told, and nothing is lost in between."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from flask import Flask
from hand_clock import HandClock
from in_process import InProcess
from rest_client import RestClient

from instar_controller.api import identities
from instar_controller.api.app import create_app
from instar_controller.api.services import Services
from instar_controller.clients.disk import DiskStore
from instar_controller.clients.memory import MemoryStore
from instar_controller.ports import Store


@pytest.fixture(params=["memory", "disk"])
def either_client(request: pytest.FixtureRequest, tmp_path: Path) -> RestClient:
    clock = HandClock()
    store: Store = MemoryStore() if request.param == "memory" else DiskStore(tmp_path / "store.db")
    invocations = InProcess(store, clock)
    request.addfinalizer(store.close)
    request.addfinalizer(invocations.close)
    app: Flask = create_app(Services(store, invocations, clock))
    return RestClient(app, identities.create(store, clock, "guest"))


def race(client: RestClient, path: str, bodies: list[dict[str, object]]) -> list[int]:
    gate, statuses = threading.Barrier(len(bodies)), []

    def put(body: dict[str, object]) -> None:
        gate.wait()
        statuses.append(client.put(path, body).status)

    threads = [threading.Thread(target=put, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sorted(statuses)


def body(code: str) -> dict[str, object]:
    return {"exec": {"kind": "python:3", "code": code}}


def test_of_two_that_create_one_action_exactly_one_does(either_client: RestClient) -> None:
    for number in range(20):
        name = f"actions/a{number}"
        assert race(either_client, name, [body("one"), body("two")]) == [200, 409]
        assert either_client.get(name).json["exec"]["code"] in ("one", "two")


def test_every_update_that_succeeded_raised_the_version(either_client: RestClient) -> None:
    # Invariant: successful updates of one document happen one after another, so each has its own version.
    either_client.create("hello")
    statuses = [
        status
        for _ in range(10)
        for status in race(either_client, "actions/hello?overwrite=true", [body(str(n)) for n in range(3)])
    ]
    assert set(statuses) <= {200, 409}
    assert either_client.get("actions/hello").json["version"] == f"0.0.{1 + statuses.count(200)}"
