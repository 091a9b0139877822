"""What every repository of plans promises: on a disk, in a shared database in memory, and in one on a server."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sharing import CHEAP, OTHER, Cluster, models

from instar import package
from instar.package import Package
from instar.plan.costs import Costs
from instar.plan.outline import outline
from instar.plan.plans import Estimate, LoadInstead
from instar_controller.clients.plan_documents import PlanDocuments
from instar_controller.clients.plans import Answer, KeptPlan, PlanRepository, key_of
from instar_controller.clients.roll import Entry, Roll
from instar_controller.engines import planning
from instar_controller.engines.repository import Repository
from instar_controller.errors import StoreError

KEY, OTHER_KEY = key_of(CHEAP), key_of(OTHER)
Open = Callable[[], Repository]


@pytest.fixture(params=["disk", "memory", pytest.param("couch", marks=pytest.mark.system)])
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """One repository, as another process would open it."""
    if request.param == "disk":
        return lambda: PlanRepository(tmp_path / "plans")
    cluster = request.getfixturevalue(f"{request.param}_cluster")
    assert isinstance(cluster, Cluster)
    return lambda: PlanDocuments(cluster.documents())


def planned(source: Package, target: Package, costs: Costs = CHEAP) -> Answer:
    answer = planning.proven(outline(source), outline(target), costs)
    assert isinstance(answer, KeptPlan)
    return answer


def test_what_is_kept_is_found_by_everybody_as_it_was(reopen: Open) -> None:
    first, second = models(2)
    plan = planned(first, second)
    instead = LoadInstead(second.digest, first.digest, Estimate(7, 5), "loading is no slower — «2» ms")
    writer, reader = reopen(), reopen()
    for model in (first, second):
        writer.put_model(model.digest, package.encode(model))
    writer.put(first.digest, second.digest, KEY, plan)
    writer.put(second.digest, first.digest, KEY, instead)
    assert reader.model_json(first.digest) == package.encode(first)
    assert reader.outline(second.digest) == outline(second)
    assert reader.find(first.digest, second.digest, KEY) == plan
    assert reader.find(second.digest, first.digest, KEY) == instead
    pairs = [(a.digest, b.digest) for a in (first, second) for b in (first, second)]
    assert reader.find_all(pairs, KEY) == {
        (first.digest, second.digest): plan,
        (second.digest, first.digest): instead,
    }


def test_what_is_not_there_is_none(reopen: Open) -> None:
    first, second = models(2)
    repository = reopen()
    assert repository.model_json(first.digest) is repository.outline(first.digest) is None
    assert repository.find(first.digest, second.digest, KEY) is None
    assert repository.find_all([(first.digest, second.digest)], KEY) == {}
    assert repository.roll() is None
    assert repository.collect(models=[], costs=[]) == 0


def test_plans_at_other_costs_are_others(reopen: Open) -> None:
    first, second = models(2)
    repository = reopen()
    pair = (first.digest, second.digest)
    repository.put(*pair, KEY, planned(first, second))
    assert repository.find(*pair, OTHER_KEY) is None
    repository.put(*pair, OTHER_KEY, planned(first, second, OTHER))
    assert repository.find(*pair, KEY) == planned(first, second)
    assert repository.find(*pair, OTHER_KEY) == planned(first, second, OTHER)


def test_the_last_that_was_written_holds(reopen: Open) -> None:
    first, second = models(2)
    pair = (first.digest, second.digest)
    reopen().put(*pair, KEY, LoadInstead(*pair, Estimate(7, 5), "slower"))
    reopen().put(*pair, KEY, planned(first, second))
    reopen().put(*pair, KEY, planned(first, second))
    assert reopen().find(*pair, KEY) == planned(first, second)


def test_many_who_write_the_same_at_once_are_not_in_each_others_way(reopen: Open) -> None:
    first, second = models(2)
    plan = planned(first, second)

    def write(_: int) -> None:
        repository = reopen()
        repository.put_model(first.digest, package.encode(first))
        repository.put(first.digest, second.digest, KEY, plan)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(8)))
    assert reopen().find(first.digest, second.digest, KEY) == plan
    assert reopen().model_json(first.digest) == package.encode(first)


def test_the_roll_is_kept_as_a_whole(reopen: Open) -> None:
    writer = reopen()
    a = Entry("guest/a", 7, {"m0": "d0"})
    b = Entry("guest/ml/b", "3-abc", {}, "https://example.org/m", code="md5-x==")
    c = Entry("guest/c", "1-c", {"m": "d1", "n": "d2"})
    for entries, located in (((a, b), {"https://example.org/m": "d3"}), ((b, c), {}), ((), {})):
        roll = Roll("costs", "a device", entries, located)
        writer.put_roll(roll)
        found = reopen().roll()
        assert found is not None
        assert {entry.action: entry for entry in found.entries} == {entry.action: entry for entry in entries}
        assert (found.costs, found.device, dict(found.located)) == ("costs", "a device", located)


def test_what_nothing_needs_goes_and_the_rest_stays(reopen: Open) -> None:
    first, second, third = packages = models(3)
    repository = reopen()
    for model in packages:
        repository.put_model(model.digest, package.encode(model))
    for source in packages:
        for target in packages:
            repository.put(source.digest, target.digest, KEY, planned(source, target))
    repository.put(first.digest, second.digest, OTHER_KEY, planned(first, second, OTHER))
    assert repository.collect(models=[first.digest, second.digest], costs=[KEY]) == 1 + 5 + 1
    assert repository.model_json(third.digest) is None
    assert repository.find(first.digest, third.digest, KEY) is None
    assert repository.find(first.digest, second.digest, OTHER_KEY) is None
    kept = [(source.digest, target.digest) for source in (first, second) for target in (first, second)]
    assert set(repository.find_all(kept, KEY)) == set(kept)
    assert reopen().outline(second.digest) == outline(second)


@pytest.mark.parametrize("name", ["memory", pytest.param("couch", marks=pytest.mark.system)])
def test_who_writes_a_roll_over_anothers_learns_of_it_and_may_then_do_so(
    request: pytest.FixtureRequest, name: str
) -> None:
    cluster = request.getfixturevalue(f"{name}_cluster")
    first, second = PlanDocuments(cluster.documents()), PlanDocuments(cluster.documents())
    rolls = [
        Roll("", "", (Entry("guest/a", f"{n}-a", {"m": "d"}), Entry("guest/b", "1-b", {})), {}) for n in range(4)
    ]
    first.put_roll(rolls[0])
    second.put_roll(rolls[1])
    with pytest.raises(StoreError, match="action:guest/a"):
        first.put_roll(rolls[2])
    assert second.roll() == rolls[1]
    first.put_roll(rolls[3])
    assert second.roll() == rolls[3]


@pytest.mark.system
def test_a_shared_database_can_be_sent_to_another_process_and_is_the_same_there(couch_cluster: Cluster) -> None:
    (model,) = models(1)
    repository = PlanDocuments(couch_cluster.documents())
    repository.put_model(model.digest, package.encode(model))
    sent = pickle.loads(pickle.dumps(repository))
    assert sent == repository
    assert hash(sent) == hash(repository)
    assert sent.outline(model.digest) == outline(model)


@pytest.mark.parametrize("name", ["memory", pytest.param("couch", marks=pytest.mark.system)])
@pytest.mark.parametrize("data", ["", "?", "AAAA", None, 7])
def test_a_damaged_document_counts_as_absent_and_is_replaced(
    request: pytest.FixtureRequest, name: str, data: object
) -> None:
    cluster = request.getfixturevalue(f"{name}_cluster")
    first, second = models(2)
    repository = PlanDocuments(cluster.documents())
    pair = (first.digest, second.digest)
    for write in (
        lambda: repository.put_model(first.digest, package.encode(first)),
        lambda: repository.put(*pair, KEY, planned(first, second)),
    ):
        write()
        for id, document in cluster.stored().items():
            cluster.documents().put([{**document, "_id": id, "data": data}])
    assert repository.model_json(first.digest) is None
    assert repository.find(*pair, KEY) is None
    repository.put_model(first.digest, package.encode(first))
    repository.put(*pair, KEY, planned(first, second))
    assert repository.model_json(first.digest) == package.encode(first)
    assert repository.find(*pair, KEY) == planned(first, second)
