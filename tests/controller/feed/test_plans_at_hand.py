"""A node keeps the plans in memory that fit; the others it fetches when they are asked for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sharing import CHEAP, WAIT_S, Cluster, await_offer, models

from instar.plan.costs import Costs
from instar.plan.plans import Estimate, LoadInstead
from instar_controller.clients.device_costs import COSTS, ClusterCosts
from instar_controller.clients.notes import Notes
from instar_controller.clients.plan_documents import PlanDocuments
from instar_controller.clients.plans import KeptPlan, key_of
from instar_controller.clients.roll import Entry, Roll
from instar_controller.engines.plan_cache import OVERHEAD_BYTES, Lookups, Pair, PlanCache
from instar_controller.whisk.invocation import ContainerKey

Begin = Callable[[Any], Any]

ESTIMATE = Estimate(1, 2)
A, B, C = ("a", "x"), ("b", "x"), ("c", "x")


def plan(size: int) -> KeptPlan:
    return KeptPlan(b"p" * (size - OVERHEAD_BYTES), ESTIMATE)


def test_what_was_asked_for_longest_ago_makes_room() -> None:
    missed: list[Pair] = []
    cache = PlanCache(2500, missed.append)
    for pair in (A, B):
        cache.put(pair, plan(1000))
    assert cache.answer_for(*A) is not None
    cache.put(C, plan(1000))
    assert cache.answer_for(*B) is None
    assert cache.answer_for(*A) is not None and cache.answer_for(*C) is not None
    assert missed == [B]
    assert (cache.known, len(cache), cache.nbytes) == (3, 2, 2000)


def test_what_is_missed_is_asked_for_once_until_it_came_or_failed() -> None:
    missed: list[Pair] = []
    cache = PlanCache(1500, missed.append)
    cache.put(A, plan(1000))
    cache.put(B, plan(1000))
    assert cache.answer_for(*A) is cache.answer_for(*A) is None
    assert missed == [A]
    cache.miss(A)
    assert cache.answer_for(*A) is None
    assert missed == [A, A]
    cache.put(A, plan(1000))
    assert cache.answer_for(*A) is not None
    assert cache.answer_for(*B) is None
    assert missed == [A, A, B]


def test_what_nobody_planned_or_is_no_plan_is_not_asked_for() -> None:
    missed: list[Pair] = []
    cache = PlanCache(1500, missed.append)
    cache.put(A, LoadInstead(*A, ESTIMATE, "slower"))
    cache.put(B, plan(1000))
    cache.put(B, None)
    assert cache.answer_for(*A) is cache.answer_for(*B) is cache.answer_for(*C) is None
    assert (missed, cache.known, cache.nbytes) == ([], 0, 0)


def test_what_was_asked_for_is_counted_by_what_was_found() -> None:
    cache = PlanCache(1500, lambda _: None)
    cache.put(A, plan(1000))
    cache.put(B, plan(1000))  # A makes room
    for pair in (A, A, B, B, B, C):
        cache.answer_for(*pair)
    assert cache.lookups == Lookups(hit=3, miss=2, none=1)


def test_a_plan_that_never_fits_is_known_and_nothing_else_goes_for_it_for_ever() -> None:
    cache = PlanCache(1500, lambda _: None)
    cache.put(A, plan(2000))
    assert (cache.known, len(cache), cache.nbytes) == (1, 0, 0)


def test_a_database_that_was_read_from_the_beginning_leaves_what_it_has() -> None:
    cache = PlanCache(1500, lambda _: None)
    for pair in (A, B, C):
        cache.put(pair, plan(1000))
    cache.leave_only({B, C})
    assert cache.known == 2
    cache.leave_only(set())
    assert (cache.known, cache.nbytes) == (0, 0)


def key(action: str, revision: str) -> ContainerKey:
    return ContainerKey("guest", action, revision, ())


def test_a_node_with_little_memory_offers_all_plans_one_after_another(memory_cluster: Cluster, begin: Begin) -> None:
    cluster = memory_cluster
    packages = models(4)
    for number, model in enumerate(packages):
        cluster.put(f"f{number}", model)
    begin(cluster.registry())
    node = begin(cluster.node(most_bytes=4000))  # two or three of sixteen
    cluster.await_planned(4)
    for number, target in enumerate(packages):
        job = cluster.key(f"f{number}")
        await_offer(node, cluster.key("f0"), job, (packages[0].digest, target.digest))
    assert node.wait_for(lambda: node.plans == 16, WAIT_S)


def test_plans_of_other_costs_are_not_offered_and_new_costs_are_taken_up(
    memory_cluster: Cluster, begin: Begin
) -> None:
    """Somebody who writes other costs over those of a kind gets other plans; until they are made there are none."""
    cluster = memory_cluster
    documents = cluster.documents()
    repository = PlanDocuments(documents)
    entries = (Entry("guest/a", "1-a", {"m": "da"}), Entry("guest/b", "1-b", {"m": "db"}))
    repository.put_roll(Roll("", "", entries, {}))
    repository.put("da", "db", key_of(CHEAP), KeptPlan(b"one", ESTIMATE))
    node = begin(cluster.node())
    a, b = key("guest/a", "1-a"), key("guest/b", "1-b")
    assert node.wait_for(lambda: node.offer(a, b) is not None, WAIT_S)
    assert node.offer(a, b).plan == b"one"
    newer = Costs(CHEAP.device, {**CHEAP.rates_ns, "load": 5e8})
    notes = Notes(documents)
    note = notes.read(COSTS + CHEAP.device)
    assert note is not None
    notes.write(COSTS + CHEAP.device, {**note.body, "rates_ns": dict(newer.rates_ns)}, replaces=note.revision)
    assert node.wait_for(lambda: node.offer(a, b) is None, WAIT_S)
    repository.put("da", "db", key_of(newer), KeptPlan(b"two", ESTIMATE))
    assert node.wait_for(lambda: node.offer(a, b) is not None, WAIT_S)
    assert node.offer(a, b).plan == b"two"


@pytest.mark.parametrize("body", [{}, {"device": 7}, {"device": "cheap", "rates_ns": {"load": "much"}}])
def test_costs_that_cannot_be_read_are_published_anew(memory_cluster: Cluster, body: dict[str, Any]) -> None:
    documents = memory_cluster.documents()
    Notes(documents).write(COSTS + CHEAP.device, {"type": "costs", **body}, replaces=None)
    costs = ClusterCosts(documents)
    assert costs.of(CHEAP.device) is None
    assert costs.all() == {}
    assert costs.publish(CHEAP) == CHEAP
    assert costs.all() == {CHEAP.device: CHEAP}


def test_the_first_costs_of_a_kind_hold_for_all(cluster: Cluster) -> None:
    costs = ClusterCosts(cluster.documents())
    assert costs.publish(CHEAP) == CHEAP
    assert costs.publish(Costs(CHEAP.device, {"load": 7.0})) == CHEAP
    assert key_of(ClusterCosts(cluster.documents()).all()[CHEAP.device]) == key_of(CHEAP)
