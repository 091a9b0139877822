"""Databases that are down, slow, replaced or odd: registering goes on from where it was, and nothing is lost."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from databases import Databases
from faulty_proxy import Delay, FaultyProxy
from sharing import CHEAP, QUICK, Cluster, await_offer, ends, ids, models, until

from instar import package
from instar.plan.costs import Costs
from instar_controller.clients import plan_documents
from instar_controller.clients.device_costs import ClusterCosts
from instar_controller.clients.memory_couch import MemoryDatabase, MemoryEntities
from instar_controller.clients.memory_documents import MemoryDocuments
from instar_controller.clients.models import Surroundings
from instar_controller.clients.notes import Notes
from instar_controller.cluster_ports import Changes, Entities
from instar_controller.engines.follower import Planned
from instar_controller.engines.whisk_actions import TRIES
from instar_controller.errors import StoreError
from instar_controller.whisk.values import JsonObject

Begin = Callable[[Any], Any]


class Watched:
    """Entities; where their changes were asked from; and whose code is not to be had."""

    def __init__(self, entities: Entities) -> None:
        self.entities = entities
        self.since: list[str] = []
        self.broken: set[str] = set()
        self.failures = 0

    def get(self, id: str, *, revision: str | None = None) -> JsonObject:
        return self.entities.get(id, revision=revision)

    def attachment(self, id: str, name: str, *, revision: str | None = None) -> bytes:
        if id in self.broken:
            self.failures += 1
            raise StoreError(f"the attachment {name} of {id} is damaged, as its test wants it")
        return self.entities.attachment(id, name, revision=revision)

    def changes(self, since: str, *, timeout_s: float, most: int) -> Changes:
        self.since.append(since)
        return self.entities.changes(since, timeout_s=timeout_s, most=most)


def test_databases_that_go_down_and_come_back_cost_no_change(
    cluster: Cluster, published: Costs, begin: Begin
) -> None:
    first, second, third = models(3)
    cluster.put("a", first)
    cluster.put("b", second)
    watched = Watched(cluster.entities)
    begin(cluster.registry(entities=watched))
    node = begin(cluster.node())
    assert cluster.await_planned(2) == Planned(actions=2, models=2, plans=4)
    a, b = cluster.key("a"), cluster.key("b")
    await_offer(node, a, b, (first.digest, second.digest))
    position = cluster.stored()["feed:whisks"]["position"]
    asked = len(watched.since)
    with cluster.fail():
        cluster.put("c", third)
        cluster.delete("a")
        assert ends(node, a, b) == (first.digest, second.digest)  # what was read is still offered
    assert cluster.await_planned(2) == Planned(actions=2, models=2, plans=4)
    await_offer(node, b, cluster.key("c"), (second.digest, third.digest))
    later = watched.since[asked - 1 :]  # what was being asked when they went down, and everything since
    assert position in later
    assert all(int(since) >= int(position) for since in later if since != "now")
    assert ids(cluster.stored(), "action:") == ["action:guest/b", "action:guest/c"]


def test_databases_that_are_down_at_the_start_are_waited_for(cluster: Cluster, begin: Begin) -> None:
    first, second = models(2)
    cluster.put("a", first)
    cluster.put("b", second)
    with cluster.fail():
        begin(cluster.registry())
        node = begin(cluster.node())
        assert node.offer(cluster.key("a"), cluster.key("b")) is None
    await_offer(node, cluster.key("a"), cluster.key("b"), (first.digest, second.digest))


@pytest.mark.system
def test_slow_databases_are_waited_for(couch_cluster: Cluster, faulty_database: FaultyProxy, begin: Begin) -> None:
    first, second = models(2)
    couch_cluster.put("a", first)
    couch_cluster.put("b", second)
    with faulty_database.from_now_on(Delay(0.1)):
        begin(couch_cluster.registry())
        node = begin(couch_cluster.node())
        await_offer(node, couch_cluster.key("a"), couch_cluster.key("b"), (first.digest, second.digest))


def test_actions_whose_code_cannot_be_had_do_not_hold_up_the_others(
    cluster: Cluster, published: Costs, begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    first, second, third = models(3)
    watched = Watched(cluster.entities)
    watched.broken = {f"guest/b{number}" for number in range(5)}
    cluster.put("a", first)
    for number in range(5):
        cluster.put(f"b{number}", second)
    cluster.put("c", third)
    begin(cluster.registry(entities=watched))
    assert cluster.await_planned(2) == Planned(actions=2, models=2, plans=4)
    assert watched.failures == 5 * TRIES  # none was given up at once, and none waited for another
    assert caplog.text.count("get no plans") == 5
    watched.broken = set()
    cluster.put("b0", second)
    cluster.await_planned(3)


def test_code_in_a_store_that_we_never_get_to_is_not_tried(
    cluster: Cluster, published: Costs, begin: Begin, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = models(2)
    cluster.put("a", first)
    cluster.put("b", second)
    document = dict(cluster.entities.get("guest/b"))
    executable = {**document["exec"], "code": {"attachmentName": "s3:1234", "attachmentType": "any/thing"}}
    cluster.revisions["guest/b"] = cluster.put_document({**document, "exec": executable})
    begin(cluster.registry())
    assert cluster.await_planned(1) == Planned(actions=1, models=1, plans=1)
    assert caplog.text.count("get no plans") == 1
    assert "s3:1234" in caplog.text


def test_a_model_too_large_for_a_document_costs_only_its_action_its_plans(
    memory_cluster: Cluster, begin: Begin, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cluster = memory_cluster
    ClusterCosts(cluster.documents()).publish(CHEAP)
    sizes = sorted((len(zlib.compress(package.encode(model), 1)), number) for number, model in enumerate(models(3)))
    monkeypatch.setattr(plan_documents, "MOST_CHARACTERS", sizes[1][0] * 4 // 3 + 8)
    for number, model in enumerate(models(3)):
        cluster.put(f"f{number}", model)
    begin(cluster.registry())
    assert cluster.await_planned(2) == Planned(actions=2, models=2, plans=4)
    assert f"the models of guest/f{sizes[2][1]} get no plans" in caplog.text


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_models_are_registered_however_long_the_shared_database_is_down(
    memory_cluster: Cluster, begin: Begin, tmp_path: Path, is_elsewhere: bool
) -> None:
    """While that of actions answers: this is no fault of theirs."""
    cluster = memory_cluster
    documents = cluster.documents()
    assert isinstance(documents, MemoryDocuments)
    ClusterCosts(documents).publish(CHEAP)
    first, second = models(2)
    begin(cluster.registry(settings=replace(QUICK, term_s=300.0), surroundings=Surroundings(shares_files=True)))
    cluster.put("a", first)
    cluster.await_planned(1)
    faults = documents.database.faults
    faults.go_down()
    if is_elsewhere:
        (tmp_path / package.MODEL_FILE).write_bytes(package.encode(second))
        cluster.put("b", variables={"INSTAR_MODEL": str(tmp_path)})
    else:
        cluster.put("b", second)
    faults.wait_for_calls(faults.calls + 4 * TRIES)
    faults.come_back()
    assert cluster.await_planned(2) == Planned(actions=2, models=2, plans=4)


ODD: list[dict[str, Any]] = [
    {"_id": "guest/t", "entityType": "trigger", "namespace": "guest", "name": "t", "parameters": [], "rules": {}},
    {"_id": "guest/r", "entityType": "rule", "namespace": "guest", "name": "r", "trigger": {}, "action": {}},
    {"_id": "guest/s", "exec": {"kind": "sequence", "components": ["/guest/a"]}},
    {"_id": "guest/q", "exec": {"kind": "pytorch:2"}},
    {"_id": "guest/v", "exec": {"kind": "pytorch:2", "code": 7, "binary": True}, "limits": 9, "parameters": {}},
    {"_id": "guest/w", "exec": 7},
    {"_id": "guest/x", "binding": 7, "parameters": "none"},
    {"_id": "guest/y"},
    {"_id": "_design/whisks.v9", "views": {}},
]


def test_documents_that_are_no_actions_of_ours_are_passed_over(
    cluster: Cluster, published: Costs, begin: Begin
) -> None:
    first, second = models(2)
    cluster.put("a", first)
    for document in ODD:
        cluster.put_document(document)
    cluster.put("x/z", second)  # in a package that is damaged
    begin(cluster.registry())
    assert cluster.await_planned(2) == Planned(actions=2, models=2, plans=4)


def test_somebody_elses_position_is_written_over_by_who_holds_the_claim(
    cluster: Cluster, published: Costs, begin: Begin
) -> None:
    first, second = models(2)
    cluster.put("a", first)
    begin(cluster.registry())
    cluster.await_planned(1)
    notes = Notes(cluster.documents())
    note = notes.read("feed:whisks")
    assert note is not None
    notes.write("feed:whisks", {**note.body, "position": "1"}, replaces=note.revision)
    cluster.put("b", second)
    cluster.await_planned(2)
    again = notes.read("feed:whisks")
    assert again is not None
    assert int(str(again.body["position"])) > int(str(note.body["position"]))


def test_a_database_of_actions_that_was_made_anew_is_read_from_the_beginning(
    memory_cluster: Cluster, begin: Begin
) -> None:
    cluster = memory_cluster
    ClusterCosts(cluster.documents()).publish(CHEAP)
    first, second, third = models(3)
    cluster.put("a", first)
    cluster.put("b", second)
    assert isinstance(cluster.entities, MemoryEntities)
    watched = Watched(cluster.entities)
    begin(cluster.registry(entities=watched))
    node = begin(cluster.node())
    cluster.await_planned(2)
    anew = MemoryDatabase()
    cluster.put_document, cluster.attach, cluster.revisions = (
        anew.put,
        lambda id, revision, name, content: anew.put_attachment(
            id, name, content, revision=revision, content_type="application/octet-stream"
        ),
        {},
    )
    cluster.put("c", third)
    watched.entities = MemoryEntities(anew)
    await_offer(node, cluster.key("c"), cluster.key("c"), (third.digest, third.digest))
    cluster.await_planned(1)
    assert ids(cluster.stored(), "action:") == ["action:guest/c"]


@pytest.mark.system
def test_databases_on_a_server_that_were_made_anew_are_filled_again(
    couch_cluster: Cluster, databases: Databases, begin: Begin
) -> None:
    cluster = couch_cluster
    ClusterCosts(cluster.documents()).publish(CHEAP)
    first, second, third = models(3)
    for name, model in zip("abc", (first, second, third), strict=True):
        cluster.put(name, model)
    begin(cluster.registry())
    node = begin(cluster.node())
    cluster.await_planned(3)
    await_offer(node, cluster.key("a"), cluster.key("c"), (first.digest, third.digest))
    for name in (databases.entities, cluster.shared_name):
        databases.server.ask("DELETE", name)
    databases.server.create(databases.entities)
    cluster.revisions.clear()
    cluster.put("b", second)
    cluster.put("c", first)
    await_offer(node, cluster.key("b"), cluster.key("c"), (second.digest, first.digest))
    cluster.await_planned(2)
    assert ids(cluster.stored(), "action:") == ["action:guest/b", "action:guest/c"]
    until(lambda: len(ids(cluster.stored(), "plan:")) == 4)  # it may have been told of the last turn's plans
