"""Actions that are created, updated and deleted in OpenWhisk's database: their models are registered, and nodes offer
plans between those that there are, and only between those."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sharing import CHEAP, OTHER, Cluster, await_offer, ids, models

from instar import package
from instar.plan.costs import Costs
from instar_controller.clients.device_costs import ClusterCosts
from instar_controller.clients.models import Surroundings
from instar_controller.engines.follower import Planned

Begin = Callable[[Any], Any]


def test_actions_of_our_kind_have_plans_between_them_on_every_node(
    cluster: Cluster, published: Costs, begin: Begin
) -> None:
    first, second = models(2)
    cluster.put("a", first)
    begin(cluster.registry())
    early = begin(cluster.node())
    cluster.put("b", second)
    cluster.put("c", second, kind="python:3")
    assert cluster.await_planned(2) == Planned(actions=2, models=2, plans=4)
    late = begin(cluster.node())
    a, b, c = (cluster.key(name) for name in "abc")
    for node in (early, late):
        await_offer(node, a, b, (first.digest, second.digest))
        await_offer(node, b, a, (second.digest, first.digest))
        assert node.offer(a, c) is None


def test_an_update_replaces_and_a_deletion_removes(cluster: Cluster, published: Costs, begin: Begin) -> None:
    first, second, third = models(3)
    cluster.put("a", first)
    cluster.put("b", second)
    begin(cluster.registry())
    node = begin(cluster.node())
    cluster.await_planned(2)
    before, b = cluster.key("a"), cluster.key("b")
    await_offer(node, before, b, (first.digest, second.digest))
    cluster.put("a", third)
    after = cluster.key("a")
    await_offer(node, after, b, (third.digest, second.digest))
    await_offer(node, before, b, (first.digest, second.digest))  # a container of before still holds what it holds
    cluster.delete("b")
    await_offer(node, after, b, (third.digest, second.digest))
    cluster.await_planned(1)
    assert ids(cluster.stored(), "action:") == ["action:guest/a"]


def test_an_update_that_leaves_the_code_alone_moves_on_to_the_new_revision(
    cluster: Cluster, published: Costs, begin: Begin
) -> None:
    first, second = models(2)
    cluster.put("a", first)
    cluster.put("b", second)
    begin(cluster.registry())
    node = begin(cluster.node())
    cluster.await_planned(2)
    cluster.touch("a", 1795314650606)
    await_offer(node, cluster.key("a"), cluster.key("b"), (first.digest, second.digest))


def test_a_model_elsewhere_is_found_by_the_parameters_of_action_or_package(
    cluster: Cluster, published: Costs, begin: Begin, tmp_path: Path
) -> None:
    first, second, third = models(3)
    places = []
    for name, model in zip("xy", (first, second), strict=True):
        (tmp_path / name).mkdir()
        (tmp_path / name / package.MODEL_FILE).write_bytes(package.encode(model))
        places.append(str(tmp_path / name))
    cluster.put_package("ml", [{"key": "INSTAR_MODEL", "value": places[0], "init": True}])
    cluster.put("ml/a")
    cluster.put("b", variables={"INSTAR_MODEL": places[1]})
    cluster.put("c", third)
    begin(cluster.registry(surroundings=Surroundings(shares_files=True)))
    node = begin(cluster.node())
    b, c = cluster.key("b", INSTAR_MODEL=places[1]), cluster.key("c")
    await_offer(node, cluster.key("ml/a", INSTAR_MODEL=places[0]), b, (first.digest, second.digest))
    cluster.put_package("ml", [{"key": "INSTAR_MODEL", "value": places[1], "init": True}])
    await_offer(node, cluster.key("ml/a", INSTAR_MODEL=places[1]), c, (second.digest, third.digest))


def test_plans_are_made_for_each_kind_of_device(cluster: Cluster, published: Costs, begin: Begin) -> None:
    first, second = models(2)
    cluster.put("a", first)
    cluster.put("b", second)
    begin(cluster.registry())
    cheap = begin(cluster.node(CHEAP))
    a, b = cluster.key("a"), cluster.key("b")
    await_offer(cheap, a, b, (first.digest, second.digest))
    other = begin(cluster.node(OTHER))  # publishes what it has measured
    await_offer(other, a, b, (first.digest, second.digest))
    assert cheap.offer(a, b).load_ms * 2 == pytest.approx(other.offer(a, b).load_ms, rel=1e-3)
    assert set(ClusterCosts(cluster.documents()).all()) == {"cheap", "other"}


def test_a_node_whose_kind_nobody_knows_offers_nothing_until_somebody_does(
    cluster: Cluster, published: Costs, begin: Begin
) -> None:
    (model,) = models(1)
    cluster.put("a", model)
    begin(cluster.registry())
    node = begin(cluster.node(None))
    cluster.await_planned(1)
    a = cluster.key("a")
    assert node.offer(a, a) is None
    ClusterCosts(cluster.documents()).publish(Costs("no kind", CHEAP.rates_ns))  # another node of the kind has
    await_offer(node, a, a, (model.digest, model.digest))
