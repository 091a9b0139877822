"""What an activation needs is read once for each revision; nobody waits for a database that does not answer."""

from __future__ import annotations

from typing import Any

import pytest
from planes import Clock

from instar_controller.engines import standing
from instar_controller.engines.needs import ASSUMED_MB, HEALTH_TEST_MB, Needs
from instar_controller.errors import NotFoundError, StoreError
from instar_controller.policies import dispatch
from instar_controller.policies.lifecycle import State
from instar_controller.policies.snapshot import Container, ContainerId
from instar_controller.whisk import activation_message
from instar_controller.whisk.activation_message import ActivationMessage
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.manifest import parse as parse_manifest

MANIFEST = parse_manifest(
    {"runtimes": {"python": [{"kind": "python:3", "default": True, "image": {"name": "python"}}]}}
)
DOCUMENT = {
    "_id": "guest/f",
    "_rev": "1-a",
    "entityType": "action",
    "namespace": "guest",
    "name": "f",
    "version": "0.0.1",
    "publish": False,
    "parameters": [],
    "annotations": [{"key": "at_least_once", "value": True}],
    "limits": {"timeout": 60000, "memory": 512, "logs": 10, "concurrency": 3},
    "exec": {"kind": "python:3", "code": "x", "binary": False},
    "updated": 1,
}


class Entities:
    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.fails: Exception | None = None

    def get(self, id: str, *, revision: str | None = None) -> Any:
        self.asked.append((id, revision))
        if self.fails is not None:
            raise self.fails
        return DOCUMENT

    def attachment(self, id: str, name: str, *, revision: str | None = None) -> bytes:
        raise AssertionError("nobody needs the code")

    def changes(self, since: str, *, timeout_s: float, most: int) -> Any:
        raise AssertionError("nobody asks")


def message(name: str = "f", path: str = "guest", revision: str | None = "1-a") -> ActivationMessage:
    return activation_message.from_json(
        {
            "transid": ["id", 1],
            "action": {"path": path, "name": name},
            "revision": revision,
            "user": {"subject": "s", "namespace": {"name": "n", "uuid": "u"}, "authkey": {}, "rights": []},
            "activationId": "0" * 32,
            "rootControllerIndex": {"asString": "0"},
            "blocking": True,
        }
    )


def test_it_is_what_the_action_says() -> None:
    need = Needs(Entities(), MANIFEST)(message())
    assert (need.memory_mb, need.concurrency, need.kind, need.may_run_twice) == (512, 3, "python:3", True)
    assert need.function == dispatch.function("n", "guest/f", "1-a")


def test_a_revision_is_read_once_and_the_latest_always() -> None:
    entities = Entities()
    needs = Needs(entities, MANIFEST)
    for revision in ("1-a", "1-a", "2-b", None, None):
        needs(message(revision=revision))
    assert [revision for _, revision in entities.asked] == ["1-a", "2-b", None, None]


def test_only_so_many_are_remembered() -> None:
    entities = Entities()
    needs = Needs(entities, MANIFEST, most=2)
    for revision in ("1", "2", "3", "1"):
        needs(message(revision=revision))
    assert len(entities.asked) == 4


@pytest.mark.parametrize("error", [NotFoundError(), StoreError("it is down")])
def test_what_cannot_be_read_is_assumed(error: Exception) -> None:
    entities = Entities()
    entities.fails = error
    need = Needs(entities, MANIFEST)(message())
    assert (need.memory_mb, need.kind, need.may_run_twice) == (ASSUMED_MB, None, False)


def test_a_database_that_does_not_answer_is_not_asked_for_a_while() -> None:
    entities, clock = Entities(), Clock()
    entities.fails = StoreError("it is down")
    needs = Needs(entities, MANIFEST, now=clock.now_s)
    needs(message())
    needs(message())
    assert len(entities.asked) == 1
    clock.s += 5
    entities.fails = None
    assert needs(message()).memory_mb == 512


def test_a_health_test_needs_no_database_and_any_node() -> None:
    entities = Entities()
    need = Needs(entities, MANIFEST)(message("invokerHealthTestAction0", "whisk.system", None))
    assert (need.memory_mb, need.kind, entities.asked) == (HEALTH_TEST_MB, None, [])


def test_a_node_names_functions_as_dispatchers_do() -> None:
    key = ContainerKey("n", "guest/f", "1-a", ())
    containers = [
        Container(ContainerId(str(number)), "python:3", 256, state, known, 0.0)
        for number, (state, known) in enumerate(
            [(State.READY, key), (State.RUNNING, key), (State.REMOVING, key), (State.PREWARMED, None)]
        )
    ]
    state = standing.of(containers, memory_mb=1024, kinds=frozenset({"python:3"}))
    assert state.warm == {Needs(Entities(), MANIFEST)(message()).function: 2}
    assert (state.memory_mb, state.kinds) == (1024, frozenset({"python:3"}))
