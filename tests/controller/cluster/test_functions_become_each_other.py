"""Through the programs of a cluster an idle container becomes the function that needs one, by a plan that lies in the
shared database, and answers as after a cold start."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import two_nets
from clusters import Cluster
from databases import PASSWORD, USERNAME, Databases
from deploy.image.engine import Engine
from programs import WAIT_S, RunningProgram
from two_nets import Sample
from whisk_controllers import Sent, action

from instar_controller.clients.couch.connection import CouchSettings
from instar_controller.clients.couch.documents import CouchDocuments
from instar_controller.clients.device_costs import ClusterCosts
from instar_controller.clients.plan_documents import PlanDocuments
from instar_controller.clients.plan_views import DESIGN
from instar_controller.clients.plans import key_of

# The first test packs the models, and the first with Docker makes the image.
pytestmark = [pytest.mark.system, pytest.mark.timeout(300, func_only=True)]

KIND = "pytorch:2"
X = 3  # what both functions are called with


class Functions:
    """Both functions in a cluster that shares plans: calls them and judges what comes back."""

    def __init__(self, cluster: Cluster, samples: dict[str, Sample], plans: str) -> None:
        self._cluster = cluster
        self._samples = samples
        self._plans = plans
        self._revisions = {name: self._put(name, sample.code) for name, sample in samples.items()}

    @property
    def variables(self) -> dict[str, str]:
        """For every program that makes or uses plans."""
        folder = self._cluster.folder
        return {
            "INSTAR_PLANS_DATABASE": self._plans,
            "INSTAR_COSTS": str(two_nets.write_profile(folder)),
            "INSTAR_STORE": str(folder / "store"),
            "INSTAR_IDLE_THRESHOLD": "0",
        }

    def documents(self) -> CouchDocuments:
        """The database of plans, as programs open it."""
        server = self._cluster.databases.server
        settings = CouchSettings("http", server.host, server.port, USERNAME, PASSWORD)
        return CouchDocuments(settings, self._plans, DESIGN)

    def planned(self) -> int:
        """How many plans lie in the database."""
        stored = self._cluster.databases.server.documents(self._plans).values()
        return sum(document.get("type") == "plan" and document["plan"] for document in stored)

    def shown(self) -> dict[str, Any]:
        """What `instar plans --cluster` says."""
        command = [str(Path(sys.executable).with_name("instar")), "plans", "--cluster", "--json"]
        server = self._cluster.databases.server
        environment = {
            **os.environ,
            "CONFIG_whisk_couchdb_host": server.host,
            "CONFIG_whisk_couchdb_port": str(server.port),
            "CONFIG_whisk_couchdb_username": USERNAME,
            "CONFIG_whisk_couchdb_password": PASSWORD,
            "INSTAR_PLANS_DATABASE": self._plans,
        }
        done = subprocess.run(command, check=True, capture_output=True, env=environment, timeout=WAIT_S)
        told: dict[str, Any] = json.loads(done.stdout)
        return told

    def call(self, name: str) -> Sent:
        """Call one; its answer is right. When this returns its container is idle."""
        sent = self._cluster.controller.invoke(f"guest/{name}", {"x": X}, revision=self._revisions[name])
        self._cluster.controller.completion(sent)  # is sent when the log is read
        assert sent.response == (0, {"values": self._samples[name].answer(X)})
        assert len(sent.completions) == 1
        return sent

    def _put(self, name: str, code: bytes) -> str:
        """As a controller writes an action: its document first, then its code."""
        databases, id, attachment = self._cluster.databases, f"guest/{name}", f"code-{name}"
        document = {
            **action(id, "", {}),
            "exec": {
                "kind": KIND,
                "binary": True,
                "main": "main",
                "code": {"attachmentName": f"couch:{attachment}", "attachmentType": "application/octet-stream"},
            },
        }
        revision = databases.server.put(databases.entities, document)
        return databases.server.attach(databases.entities, id, revision, attachment, code)


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Sample]:
    return two_nets.samples(tmp_path_factory.mktemp("models"))


@pytest.fixture
def functions(cluster: Cluster, samples: dict[str, Sample], databases: Databases) -> Iterator[Functions]:
    plans = f"test_{secrets.token_hex(4)}_plans"
    yield Functions(cluster, samples, plans)
    with contextlib.suppress(OSError):  # nobody may have made it
        databases.server.ask("DELETE", plans)


def await_plans(program: RunningProgram) -> None:
    """Wait until a node knows all that there is: two actions, and a plan for each pair of their models."""
    program.wait_for_metric(lambda count: count == 2, "instar_planned_actions")
    program.wait_for_metric(lambda count: count == 4, "instar_plans", where="in memory")


def start_of(annotations: dict[str, Any]) -> tuple[Any, ...]:
    note = annotations["instar"]
    return note["start"], note.get("from"), note.get("by"), note.get("how")


def transformed(source: str) -> tuple[str, ...]:
    return "transformed", f"guest/{source}", "plan", "transformed"


COLD = ("cold", None, None, None)


def notes_of(record: dict[str, Any]) -> dict[str, Any]:
    return {note["key"]: note["value"] for note in record["annotations"]}


def test_under_an_invoker_and_the_answers_are_those_of_cold_starts(cluster: Cluster, functions: Functions) -> None:
    invoker = cluster.invoker(**functions.variables)
    await_plans(invoker)
    assert functions.planned() == 4
    matrix = functions.shown()
    assert {model["name"] for model in matrix["models"]} == {"guest/narrow", "guest/wide"}
    assert [pair["plan"] for pair in matrix["pairs"]] == [True] * 4
    calls = [functions.call(name) for name in ("narrow", "wide", "narrow")]
    cluster.kill_containers()
    assert invoker.event("removed")["reason"] == "ended by itself"
    calls.append(functions.call("wide"))
    expected = [COLD, transformed("narrow"), transformed("wide"), COLD]
    assert [start_of(sent.annotations) for sent in calls] == expected
    assert calls[0].response == calls[2].response  # cold, and transformed
    assert calls[3].response == calls[1].response
    invoker.wait_for_metric(lambda count: count == 2, "instar_transformations_total", by="plan", how="transformed")
    assert invoker.metric("instar_starts_total", start="transformed") == 2
    assert (invoker.metric("instar_plan_lookups_total", found="hit") or 0) >= 2
    assert invoker.metric("instar_planned_pairs_total", outcome="plan") == 4
    assert invoker.metric("instar_planned_pairs_total", outcome="failed") == 0
    assert (invoker.metric("instar_planning_seconds_total") or 0) > 0
    assert invoker.end(signal.SIGTERM) == 0
    records = cluster.records()
    assert [start_of(notes_of(records[sent.id])) for sent in calls] == expected


def test_behind_a_dispatcher_that_made_the_plans(cluster: Cluster, functions: Functions) -> None:
    node = cluster.node("a", **functions.variables)
    dispatcher = cluster.dispatcher(INSTAR_PLANS_DATABASE=functions.variables["INSTAR_PLANS_DATABASE"])
    await_plans(node)
    calls = [functions.call(name) for name in ("narrow", "wide", "narrow")]
    expected = [COLD, transformed("narrow"), transformed("wide")]
    assert [start_of(sent.annotations) for sent in calls] == expected
    assert calls[0].response == calls[2].response
    assert dispatcher.metric("instar_planned_pairs_total", outcome="plan") == 4
    assert node.metric("instar_planned_pairs_total", outcome="plan") is None  # a node has them made
    node.wait_for_metric(lambda count: count == 2, "instar_transformations_total", by="plan", how="transformed")
    assert dispatcher.end(signal.SIGTERM) == 0
    assert node.end(signal.SIGTERM) == 0
    records = cluster.records()
    assert [start_of(notes_of(records[sent.id])) for sent in calls] == expected


def test_a_plan_that_is_another_ones_is_refused_by_the_container_and_costs_nobody_an_answer(
    cluster: Cluster, functions: Functions
) -> None:
    documents = functions.documents()
    ClusterCosts(documents).publish(two_nets.PROFILE.costs)
    dispatcher = cluster.dispatcher(INSTAR_PLANS_DATABASE=functions.variables["INSTAR_PLANS_DATABASE"])
    dispatcher.wait_for_metric(lambda count: count == 4, "instar_planned_pairs_total", outcome="plan")
    models = {model["name"]: model["digest"] for model in functions.shown()["models"]}
    narrow, wide = models["guest/narrow"], models["guest/wide"]
    repository, costs = PlanDocuments(documents), key_of(two_nets.PROFILE.costs)
    back = repository.find(wide, narrow, costs)
    assert back is not None
    repository.put(narrow, wide, costs, back)
    node = cluster.node("a", **functions.variables)
    await_plans(node)
    calls = [functions.call(name) for name in ("narrow", "wide", "narrow")]
    assert [start_of(sent.annotations)[0] for sent in calls] == ["cold", "cold", "warm"]
    assert any("stays guest/narrow" in line for line in node.log)
    assert dispatcher.end(signal.SIGTERM) == 0
    assert node.end(signal.SIGTERM) == 0


@pytest.fixture
def docker_variables(docker_engine: Engine, action_image: str, tmp_path: Path) -> dict[str, str]:
    """An invoker's, for containers of the image under test."""
    manifest = tmp_path / "runtimes.json"
    families = {"pytorch": [{"kind": KIND, "default": True, "image": {"name": action_image}}]}
    manifest.write_text(json.dumps({"runtimes": families}))
    return {**docker_engine.environ, "INSTAR_CONTAINERS": "docker", "INSTAR_MANIFEST": str(manifest)}


def test_in_docker_containers(
    cluster: Cluster, functions: Functions, docker_engine: Engine, docker_variables: dict[str, str]
) -> None:
    invoker = cluster.invoker(**{**functions.variables, **docker_variables})
    await_plans(invoker)
    calls = [functions.call(name) for name in ("narrow", "wide", "narrow")]
    expected = [COLD, transformed("narrow"), transformed("wide")]
    assert [start_of(sent.annotations) for sent in calls] == expected
    assert calls[0].response == calls[2].response
    assert invoker.end(signal.SIGTERM) == 0
    records = cluster.records()
    assert [start_of(notes_of(records[sent.id])) for sent in calls] == expected
