"""A namespace's own limits: its rate, its concurrency, its kinds, and whether its records are kept."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest
from flask import Flask
from hand_clock import HandClock
from in_process import InProcess
from rest_client import RestClient

from instar_controller.api import identities
from instar_controller.api.app import create_app
from instar_controller.api.services import Services
from instar_controller.api.traffic import Traffic
from instar_controller.clients.memory import MemoryStore
from instar_controller.errors import ThrottledError
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.identity import generate
from instar_controller.whisk.invocation import Invocation
from instar_controller.whisk.limits import EffectiveLimits, NamespaceLimits


def limited_client(app: Flask, store: MemoryStore, clock: HandClock, limits: NamespaceLimits) -> RestClient:
    identity = generate("limited")
    with_limits = type(identity)(identity.subject, identity.namespace, identity.uuid, identity.key, limits)
    identities.add(store, clock, with_limits)
    return RestClient(app, with_limits)


def test_the_rate_of_a_minute_is_bounded_and_starts_anew(app: Flask, store: MemoryStore, clock: HandClock) -> None:
    limited = limited_client(app, store, clock, NamespaceLimits(invocations_per_minute=3))
    limited.create("echo")
    assert [limited.invoke("echo").status for _ in range(3)] == [200, 200, 200]
    refused = limited.invoke("echo")
    assert refused.status == 429
    assert refused.error == "Too many requests in the last minute (count: 4, allowed: 3)."
    assert "(count: 5, allowed: 3)" in limited.invoke("echo").error
    clock.ms += 60_000
    assert limited.invoke("echo").status == 200


def test_one_namespaces_rate_does_not_touch_another(
    app: Flask, store: MemoryStore, clock: HandClock, client: RestClient
) -> None:
    limited = limited_client(app, store, clock, NamespaceLimits(invocations_per_minute=0))
    limited.create("echo")
    assert limited.invoke("echo").status == 429
    client.create("echo")
    assert client.invoke("echo").status == 200


class Held:
    """An `Invocations` whose futures the test completes."""

    def __init__(self) -> None:
        self.futures: list[Future[Activation]] = []

    def submit(self, invocation: Invocation) -> Future[Activation]:
        self.futures.append(Future())
        return self.futures[-1]

    def invokers(self) -> dict[str, str]:
        return {"invoker0": "up"}


def test_concurrency_is_bounded_until_an_invocation_is_completed(store: MemoryStore, clock: HandClock) -> None:
    held = Held()
    limited = limited_client(
        create_app(Services(store, held, clock)), store, clock, NamespaceLimits(concurrent_invocations=1)
    )
    limited.create("echo")
    assert limited.post("actions/echo", {}).status == 202
    refused = limited.post("actions/echo", {})
    assert refused.status == 429
    assert refused.error == "Too many concurrent requests in flight (count: 1, allowed: 1)."
    held.futures[0].set_exception(RuntimeError("the engine failed"))  # a completion like any other
    assert limited.post("actions/echo", {}).status == 202


def test_a_call_refused_for_concurrency_counts_in_the_minute_all_the_same(
    store: MemoryStore, clock: HandClock
) -> None:
    held = Held()
    limits = NamespaceLimits(concurrent_invocations=1, invocations_per_minute=2)
    limited = limited_client(create_app(Services(store, held, clock)), store, clock, limits)
    limited.create("echo")
    statuses = [limited.post("actions/echo", {}) for _ in range(3)]
    assert [answer.status for answer in statuses] == [202, 429, 429]
    assert "last minute (count: 3, allowed: 2)" in statuses[2].error


@pytest.mark.parametrize("broken", ["nosuch", "echo?timeout=1", "echo-raw"])
def test_a_call_that_was_never_submitted_gives_its_slot_back(
    app: Flask, store: MemoryStore, clock: HandClock, invocations: InProcess, broken: str
) -> None:
    limited = limited_client(app, store, clock, NamespaceLimits(concurrent_invocations=1))
    limited.create("echo")
    invocations.is_up = False
    assert limited.post(f"actions/{broken.removesuffix('-raw')}", raw=b"{" if "raw" in broken else b"{}").status in (
        400,
        404,
        503,
    )
    invocations.is_up = True
    assert limited.invoke("echo").status == 200


def test_slots_are_never_given_out_twice_to_racing_callers() -> None:
    # Invariant: with N slots and more callers than that at once, exactly N are admitted.
    traffic, slots, callers = Traffic(), 5, 32
    limits = EffectiveLimits(NamespaceLimits(concurrent_invocations=slots, invocations_per_minute=1000))
    gate, admitted = threading.Barrier(callers), []

    def call() -> None:
        gate.wait()
        try:
            traffic.admit("ns", limits, now_ms=0)
        except ThrottledError:
            return
        admitted.append(1)

    threads = [threading.Thread(target=call) for _ in range(callers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == slots


def test_kinds_can_be_confined(app: Flask, store: MemoryStore, clock: HandClock) -> None:
    limited = limited_client(app, store, clock, NamespaceLimits(allowed_kinds=("python:3",)))
    limited.create("echo")
    answer = limited.put("actions/x", {"exec": {"kind": "pytorch:2", "code": "x"}})
    assert answer.status == 403
    assert answer.error == ("The supplied authentication is not authorized to access actions of kind 'pytorch:2'.")


def test_records_are_not_kept_where_the_namespace_wants_none(
    app: Flask, store: MemoryStore, clock: HandClock
) -> None:
    limited = limited_client(app, store, clock, NamespaceLimits(store_activations=False))
    limited.create("echo")
    for headers in ({}, {"X-OW-EXTRA-LOGGING": "on"}):  # which is above a level of records, and not above this
        answer = limited.post("actions/echo?blocking=true", {}, headers=headers)
        assert answer.status == 200
        assert limited.get(f"activations/{answer.json['activationId']}").status == 404


def test_the_limits_document_shows_what_holds(app: Flask, store: MemoryStore, clock: HandClock) -> None:
    own = NamespaceLimits(3, 1, 1, ("python:3",), True)
    assert limited_client(app, store, clock, own).get("limits").json == {
        "allowedKinds": ["python:3"],
        "concurrentInvocations": 1,
        "firesPerMinute": 1,
        "invocationsPerMinute": 3,
        "maxActionConcurrency": 1,
        "maxActionInstances": 1,
        "maxActionLogs": 10,
        "maxActionMemory": 512,
        "maxActionTimeout": 300000,
        "maxParameterSize": "1048576 B",
        "minActionConcurrency": 1,
        "minActionLogs": 0,
        "minActionMemory": 128,
        "minActionTimeout": 100,
        "storeActivations": True,
    }
