"""Fixtures climb from a store to a client of the API over it; no process is started."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask
from hand_clock import HandClock
from in_process import InProcess
from rest_client import RestClient

from instar_controller.api import identities
from instar_controller.api.app import create_app
from instar_controller.api.services import Services
from instar_controller.clients.memory import MemoryStore
from instar_controller.whisk.identity import Identity


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def invocations(store: MemoryStore, clock: HandClock) -> Iterator[InProcess]:
    running = InProcess(store, clock)
    yield running
    running.close()


@pytest.fixture
def services(store: MemoryStore, clock: HandClock, invocations: InProcess) -> Services:
    return Services(store, invocations, clock)


@pytest.fixture
def app(services: Services) -> Flask:
    return create_app(services)


@pytest.fixture
def guest(store: MemoryStore, clock: HandClock) -> Identity:
    return identities.create(store, clock, "guest")


@pytest.fixture
def other(store: MemoryStore, clock: HandClock) -> Identity:
    return identities.create(store, clock, "other")


@pytest.fixture
def client(app: Flask, guest: Identity) -> RestClient:
    return RestClient(app, guest)


@pytest.fixture
def stranger(app: Flask, other: Identity) -> RestClient:
    """A client of another namespace."""
    return RestClient(app, other)
