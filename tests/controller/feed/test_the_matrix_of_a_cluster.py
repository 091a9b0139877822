"""`instar plans --cluster` shows what lies in the database that a cluster shares, and writes nothing there."""

from __future__ import annotations

import argparse
import json
import secrets
import socket
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from databases import PASSWORD, USERNAME, Databases
from faulty_proxy import Answer, FaultyProxy
from sharing import CHEAP, OTHER, Cluster, models

from instar.plan.costs import Costs
from instar.plan.plans import LoadInstead
from instar_controller import cluster_plans, show_plans
from instar_controller.clients.device_costs import ClusterCosts
from instar_controller.clients.plan_documents import PlanDocuments
from instar_controller.clients.plans import KeptPlan, key_of
from instar_controller.clients.roll import Roll
from instar_controller.errors import SettingsError, StoreError

Begin = Callable[[Any], Any]

DEAR = Costs("dear", {**CHEAP.rates_ns, "transform": 1e12})


def test_a_cluster_without_actions_or_without_costs_has_no_plans_yet(memory_cluster: Cluster) -> None:
    documents = memory_cluster.documents()
    with pytest.raises(StoreError, match="x has no plans yet: no action with a model was registered"):
        cluster_plans.of(documents, "x", None)
    PlanDocuments(documents).put_roll(Roll("", "", (), {}))
    with pytest.raises(StoreError, match="x has no plans yet: nobody knows what models cost"):
        cluster_plans.of(documents, "x", None)


def test_each_kind_of_device_has_a_matrix_of_its_own(memory_cluster: Cluster, begin: Begin) -> None:
    documents = memory_cluster.documents()
    for costs in (CHEAP, DEAR):
        ClusterCosts(documents).publish(costs)
    first, second = models(2)
    memory_cluster.put("a", first)
    memory_cluster.put("b", second)
    begin(memory_cluster.registry())
    memory_cluster.await_planned(2)
    for costs, sort in ((CHEAP, KeptPlan), (DEAR, LoadInstead)):
        matrix = cluster_plans.of(documents, "x", costs.device)
        assert matrix.device == costs.device
        assert [(model.name, model.digest) for model in matrix.models] == [
            ("guest/a", first.digest), ("guest/b", second.digest),
        ]  # fmt: skip
        kept = PlanDocuments(documents).find_all(
            [(one, other) for one in (first.digest, second.digest) for other in (first.digest, second.digest)],
            key_of(costs),
        )
        assert len(kept) == len(matrix.answers) == 4
        for pair, answer in kept.items():
            assert isinstance(answer, sort) and isinstance(matrix.answers[pair], sort)
            assert matrix.answers[pair].estimate == answer.estimate
    with pytest.raises(SettingsError, match="2 kinds of devices: choose one with --device: 'cheap', 'dear'"):
        cluster_plans.of(documents, "x", None)
    with pytest.raises(SettingsError, match="--device 'other': x has no plans for it, but for 'cheap', 'dear'"):
        cluster_plans.of(documents, "x", OTHER.device)


def environment(databases: Databases, **changed: str) -> Mapping[str, str]:
    return {
        "CONFIG_whisk_couchdb_host": databases.server.host,
        "CONFIG_whisk_couchdb_port": str(databases.server.port),
        "CONFIG_whisk_couchdb_username": USERNAME,
        "CONFIG_whisk_couchdb_password": PASSWORD,
        **changed,
    }


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Runs the command in an environment: its exit status, and what it says."""

    def run(environment: Mapping[str, str], *options: str) -> tuple[int, str, str]:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        parser = argparse.ArgumentParser()
        show_plans.configure(parser)
        status = show_plans.run(parser.parse_args(["--cluster", *options]))
        out, err = capsys.readouterr()
        assert PASSWORD not in out + err
        return status, out, err

    return run


Shown = Callable[..., tuple[int, str, str]]


@pytest.mark.system
def test_it_is_read_from_a_server_beside_whoever_plans(
    couch_cluster: Cluster, databases: Databases, begin: Begin, shown: Shown
) -> None:
    ClusterCosts(couch_cluster.documents()).publish(CHEAP)
    first, second = models(2)
    couch_cluster.put("a", first)
    couch_cluster.put("b", second)
    registry = begin(couch_cluster.registry())
    couch_cluster.await_planned(2)
    told = environment(databases, INSTAR_PLANS_DATABASE=couch_cluster.shared_name)
    status, out, _ = shown(told, "--json")
    assert status == 0
    matrix = json.loads(out)
    assert matrix["device"] == CHEAP.device
    assert [model["digest"] for model in matrix["models"]] == [first.digest, second.digest]
    assert len(matrix["pairs"]) == 4 and all(pair["plan"] for pair in matrix["pairs"])
    registry.close()
    before = couch_cluster.stored()
    status, out, _ = shown(told, "--device", CHEAP.device)
    assert status == 0
    assert out.startswith("2 models of actions, 4 plans between them, estimated for cheap\n")
    assert couch_cluster.stored() == before


@pytest.mark.system
def test_nothing_is_asked_for_that_who_may_only_read_may_not(
    couch_cluster: Cluster, databases: Databases, faulty_database: FaultyProxy, shown: Shown
) -> None:
    PlanDocuments(couch_cluster.documents()).put_roll(Roll("", "", (), {}))
    ClusterCosts(couch_cluster.documents()).publish(CHEAP)
    name, port = couch_cluster.shared_name, str(faulty_database.port)
    told = environment(databases, INSTAR_PLANS_DATABASE=name, CONFIG_whisk_couchdb_port=port)
    before = len(faulty_database.requests)
    status, out, _ = shown(told)
    assert (status, out.splitlines()[0]) == (0, "0 models of actions, 0 plans between them, estimated for cheap")
    asked = {(method, target.partition("?")[0]) for method, target in faulty_database.requests[before:]}
    assert asked == {("GET", f"/{name}"), ("GET", f"/{name}/_all_docs"), ("POST", f"/{name}/_all_docs")}


@pytest.mark.system
def test_a_server_that_fails_meanwhile_is_told(
    couch_cluster: Cluster, databases: Databases, faulty_database: FaultyProxy, shown: Shown
) -> None:
    PlanDocuments(couch_cluster.documents()).put_roll(Roll("", "", (), {}))
    name, port = couch_cluster.shared_name, str(faulty_database.port)
    with faulty_database.from_now_on(Answer(503), path="_all_docs"):
        told = environment(databases, INSTAR_PLANS_DATABASE=name, CONFIG_whisk_couchdb_port=port)
        status, out, err = shown(told)
    assert (status, out) == (1, "")
    assert "CouchDB answered 503" in err and "look at its log" in err


@pytest.mark.system
def test_a_database_that_is_not_there_is_told_and_not_made(databases: Databases, shown: Shown) -> None:
    name = f"test_{secrets.token_hex(4)}_plans"
    status, out, err = shown(environment(databases, INSTAR_PLANS_DATABASE=name))
    assert (status, out) == (1, "")
    assert err.startswith(f"instar plans: CouchDB at {databases.server.url} has no database {name}: whoever plans")
    assert name not in databases.server.ask("GET", "_all_dbs")


@pytest.mark.system
def test_who_may_not_read_it_is_told(couch_cluster: Cluster, databases: Databases, shown: Shown) -> None:
    PlanDocuments(couch_cluster.documents()).put_roll(Roll("", "", (), {}))
    for changed in ({"CONFIG_whisk_couchdb_password": "wrong"}, {"CONFIG_whisk_couchdb_username": "nobody"}):
        told = environment(databases, INSTAR_PLANS_DATABASE=couch_cluster.shared_name, **changed)
        status, out, err = shown(told)
        assert (status, out) == (1, "")
        assert f"keeps the database {couch_cluster.shared_name} from the user" in err
        assert "CONFIG_whisk_couchdb_password" in err


@pytest.mark.system
def test_a_server_that_does_not_answer_is_told(databases: Databases, shown: Shown) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # and nobody listens
        port = unused.getsockname()[1]
        status, out, err = shown(environment(databases, CONFIG_whisk_couchdb_port=str(port)))
    assert (status, out) == (1, "")
    assert err.startswith(f"instar plans: CouchDB at http://127.0.0.1:{port} gave no answer to GET /instar_plans")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"CONFIG_whisk_couchdb_host": ""}, "CONFIG_whisk_couchdb_host is not set"),
        ({"CONFIG_whisk_couchdb_host": "http://here"}, "is no host; its protocol and port are in"),
        ({"INSTAR_PLANS_DATABASE": "none"}, "INSTAR_PLANS_DATABASE is 'none': such programs make no plans"),
        ({"INSTAR_PLANS_DATABASE": "Plans"}, "write a database's name"),
    ],
)
def test_what_names_no_database_is_refused(shown: Shown, changed: Mapping[str, str], said: str) -> None:
    status, out, err = shown({"CONFIG_whisk_couchdb_host": "127.0.0.1", **changed})
    assert (status, out) == (1, "")
    assert said in err


def test_a_server_has_one_kind_of_device_only(capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    show_plans.configure(parser)
    assert show_plans.run(parser.parse_args(["--device", "cheap"])) == 1
    assert "--device goes with --cluster" in capsys.readouterr().err
