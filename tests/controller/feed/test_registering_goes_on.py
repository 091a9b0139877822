"""A registry that ends, however it ends, is followed by another that goes on where it was; two do the work once."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from databases import PASSWORD, USERNAME, Databases
from faulty_proxy import Delay, FaultyProxy
from sharing import CHEAP, Cluster, ids, models, until

from instar.plan.costs import Costs
from instar_controller.clients import wanted
from instar_controller.clients.device_costs import ClusterCosts
from instar_controller.cluster_ports import Changes, Entities
from instar_controller.engines.follower import Planned
from instar_controller.whisk.values import JsonObject

Begin = Callable[[Any], Any]


class Watched:
    """Entities, and what was asked of them."""

    def __init__(self, entities: Entities) -> None:
        self._entities = entities
        self.since: list[str] = []
        self.read: list[str] = []

    def get(self, id: str, *, revision: str | None = None) -> JsonObject:
        self.read.append(id)
        return self._entities.get(id, revision=revision)

    def attachment(self, id: str, name: str, *, revision: str | None = None) -> bytes:
        self.read.append(f"{id}: {name}")
        return self._entities.attachment(id, name, revision=revision)

    def changes(self, since: str, *, timeout_s: float, most: int) -> Changes:
        self.since.append(since)
        return self._entities.changes(since, timeout_s=timeout_s, most=most)


def test_a_restart_goes_on_from_where_the_last_one_ended_and_plans_nothing_again(
    cluster: Cluster, published: Costs, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, model in zip("abc", models(3), strict=True):
        cluster.put(name, model)
    first = begin(cluster.registry())
    assert cluster.await_planned(3) == Planned(actions=3, models=3, plans=9)
    assert first.computed == 9
    first.close()
    assert (first.is_working, first.computed) == (False, 9)
    position = cluster.stored()["feed:whisks"]["position"]
    cluster.delete("a")
    *_, fourth = models(4)
    cluster.put("d", fourth)
    cluster.touch("b", 1795314650607)
    looked: list[str] = []
    look = wanted.look
    monkeypatch.setattr(wanted, "look", lambda code: looked.append(code) or look(code))
    watched = Watched(cluster.entities)
    second = begin(cluster.registry("dispatcher1", entities=watched))
    assert cluster.await_planned(3) == Planned(actions=3, models=3, plans=9)
    assert watched.since[0] == position
    assert second.computed == 9 - 4  # those with the new model
    assert len(looked) == 1  # its archive alone was opened
    assert ids(cluster.stored(), "action:") == ["action:guest/b", "action:guest/c", "action:guest/d"]


def test_of_two_one_registers_and_each_pair_is_planned_once(cluster: Cluster, published: Costs, begin: Begin) -> None:
    packages = models(4)
    for number, model in enumerate(packages):
        cluster.put(f"f{number}", model)
    pair = [begin(cluster.registry(f"dispatcher{number}")) for number in range(2)]
    cluster.await_planned(4)
    assert sorted(registry.computed for registry in pair) == [0, 16]
    (working,) = [registry for registry in pair if registry.is_working]
    (waiting,) = [registry for registry in pair if not registry.is_working]
    working.close()
    *_, fifth = models(5)
    cluster.put("f4", fifth)
    assert cluster.await_planned(5) == Planned(actions=5, models=5, plans=25)
    assert waiting.is_working
    assert waiting.computed == 25 - 16


SCRIPT = """
import sys
from instar_controller.clients.couch.connection import Connection, CouchSettings
from instar_controller.clients.couch.database import Database
from instar_controller.clients.couch.documents import CouchDocuments
from instar_controller.clients.couch.entities import CouchEntities
from instar_controller.clients.models import Surroundings
from instar_controller.clients.plan_views import DESIGN
from instar_controller.engines.shared_registry import RegistrySettings, SharedRegistry
from instar_controller.whisk.manifest import DEFAULT

if __name__ == "__main__":
    port, whisks, plans, username, password = sys.argv[1:]
    settings = CouchSettings(port=int(port), username=username, password=password)
    registry = SharedRegistry(
        CouchEntities(Database(Connection(settings), whisks)),
        CouchDocuments(settings, plans, DESIGN),
        owner="doomed",
        feed="whisks",
        manifest=DEFAULT,
        kinds=["pytorch:2"],
        surroundings=Surroundings(),
        settings=RegistrySettings(term_s=1.5, poll_s=0.1),
    )
    registry.start()
    sys.stdin.read()
"""


@pytest.mark.system
def test_the_work_of_a_process_that_is_killed_is_taken_over_and_nothing_is_lost(
    couch_cluster: Cluster, databases: Databases, faulty_database: FaultyProxy, begin: Begin, tmp_path: Path
) -> None:
    cluster = couch_cluster
    ClusterCosts(cluster.documents()).publish(CHEAP)
    packages = models(8)
    for number, model in enumerate(packages):
        cluster.put(f"f{number}", model)
    script = tmp_path / "doomed.py"
    script.write_text(SCRIPT)
    arguments = [str(faulty_database.port), databases.entities, cluster.shared_name, USERNAME, PASSWORD]
    with faulty_database.from_now_on(Delay(0.05)):  # else it may be ready before it is killed
        doomed = subprocess.Popen([sys.executable, str(script), *arguments], stdin=subprocess.PIPE)
        with doomed:
            until(lambda: len(ids(cluster.stored(), "plan:")) >= 5)
            doomed.send_signal(signal.SIGKILL)
    kept = len(ids(cluster.stored(), "plan:"))
    assert 0 < kept < 64, "it is to be killed in the middle"
    survivor = begin(cluster.registry("survivor"))
    assert cluster.await_planned(8) == Planned(actions=8, models=8, plans=64)
    assert survivor.computed <= 64 - kept
    assert len(ids(cluster.stored(), "plan:")) == 64
