"""A thousand updates at once: each action is looked at as it is at the end, and only what is new is opened."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sharing import CHEAP, Cluster, await_offer, ids, models, until

from instar_controller.clients import wanted
from instar_controller.clients.device_costs import ClusterCosts
from instar_controller.engines.follower import Planned

Begin = Callable[[Any], Any]

ACTIONS = 100
UPDATES = 1000


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The archives that were opened."""
    opened: list[str] = []
    look = wanted.look
    monkeypatch.setattr(wanted, "look", lambda code: opened.append(code) or look(code))
    return opened


def test_a_thousand_updates_that_nobody_has_seen(memory_cluster: Cluster, begin: Begin, looked: list[str]) -> None:
    cluster = memory_cluster
    node = begin(cluster.node())
    packages = models(5)
    for update in range(UPDATES):  # each action has each model twice
        cluster.put(f"f{update % ACTIONS}", packages[update // ACTIONS % 5])
    registry = begin(cluster.registry())
    assert cluster.await_planned(ACTIONS) == Planned(actions=ACTIONS, models=1, plans=1)
    assert registry.computed == 1
    assert len(looked) == ACTIONS
    await_offer(node, cluster.key("f0"), cluster.key("f1"), (packages[4].digest,) * 2)


@pytest.mark.system
@pytest.mark.timeout(400)
def test_a_thousand_updates_of_actions_that_are_known(
    couch_cluster: Cluster, begin: Begin, looked: list[str]
) -> None:
    """Through a server, while the registry runs: nothing is opened or planned again, and the last revisions hold."""
    cluster = couch_cluster
    ClusterCosts(cluster.documents()).publish(CHEAP)
    first, second = models(2)
    for number in range(ACTIONS):
        cluster.put(f"f{number}", (first, second)[number % 2])
    registry = begin(cluster.registry())
    node = begin(cluster.node())
    assert cluster.await_planned(ACTIONS) == Planned(actions=ACTIONS, models=2, plans=4)
    assert len(looked) == ACTIONS
    for update in range(UPDATES):
        cluster.touch(f"f{update % ACTIONS}", 1795314650700 + update)
    for number in range(ACTIONS - 3, ACTIONS):
        other = cluster.key(f"f{number - 1}")
        expected = (second.digest, first.digest) if number % 2 == 0 else (first.digest, second.digest)
        await_offer(node, other, cluster.key(f"f{number}"), expected)
    last = {f"action:{id}": revision for id, revision in cluster.revisions.items()}

    def written() -> dict[str, str]:
        stored = cluster.stored()
        return {id: document["revision"] for id, document in stored.items() if id.startswith("action:")}

    until(lambda: written() == last)  # those that the node has seen were written together with others
    assert len(looked) == ACTIONS
    assert registry.computed == 4
    assert len(ids(cluster.stored(), "plan:")) == 4
