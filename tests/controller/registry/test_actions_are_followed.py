"""Whatever is written through the API is followed: plans are offered between the functions that there are, and only
between those."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from followed import Followed, archive, digests_of, ends
from registered import CHEAP, models

from instar_controller.clients.plans import KeptPlan, key_of
from instar_controller.engines.follower import Follower, Planned

pytestmark = pytest.mark.system

Follow = Callable[..., Follower]


def test_actions_that_are_created_have_plans_between_them(followed: Followed, follow: Follow) -> None:
    first, second = models(2)
    follower = follow(followed)
    followed.put("a", archive(first))
    followed.put("b", archive(second))
    assert followed.await_planned(2) == Planned(actions=2, models=2, plans=4)
    a, b = followed.key("a"), followed.key("b")
    assert ends(follower, a, b) == (first.digest, second.digest)
    assert ends(follower, b, a) == (second.digest, first.digest)


def test_actions_that_were_there_before_are_followed_too(followed: Followed, follow: Follow) -> None:
    first, second = models(2)
    followed.put("a", archive(first))
    followed.put("b", archive(second))
    follower = follow(followed)
    followed.await_planned(2)
    assert ends(follower, followed.key("a"), followed.key("b")) == (first.digest, second.digest)


def test_an_action_with_another_model_has_other_plans(followed: Followed, follow: Follow) -> None:
    first, second, third = models(3)
    follower = follow(followed)
    followed.put("a", archive(first))
    followed.put("b", archive(second))
    followed.await_planned(2)
    before = followed.key("a")
    followed.put("a", archive(third))
    while ends(follower, followed.key("a"), followed.key("b")) != (third.digest, second.digest):
        followed.await_planned(2)
    assert follower.offer(before, followed.key("b")) is None
    assert follower.offer(followed.key("b"), before) is None


def test_a_container_of_an_earlier_revision_is_offered_while_its_model_is_registered(
    followed: Followed, follow: Follow
) -> None:
    first, second = models(2)
    follower = follow(followed)
    followed.put("a", archive(first))
    followed.put("b", archive(second))
    followed.await_planned(2)
    before = followed.key("a")
    followed.put("a", archive(first, notes=b"{}"))
    followed.await_planned(2)
    assert before != followed.key("a")
    assert ends(follower, before, followed.key("b")) == (first.digest, second.digest)
    assert ends(follower, before, followed.key("a")) == (first.digest, first.digest)


def test_a_deleted_action_has_no_plans(followed: Followed, follow: Follow) -> None:
    first, second = models(2)
    follower = follow(followed)
    followed.put("a", archive(first))
    followed.put("b", archive(second))
    followed.await_planned(2)
    a, b = followed.key("a"), followed.key("b")
    followed.delete("a")
    followed.await_planned(1)
    assert follower.offer(a, b) is follower.offer(b, a) is None
    roll = followed.repository.roll()
    assert roll is not None
    assert [entry.action for entry in roll.entries] == ["guest/b"]


def test_a_package_that_is_deleted_takes_its_actions_with_it(followed: Followed, follow: Follow) -> None:
    follow(followed)
    assert followed.request("PUT", "packages/group", {}) == 200
    for number, model in enumerate(models(2)):
        followed.put(f"group/f{number}", archive(model))
    followed.await_planned(2)
    assert followed.request("DELETE", "packages/group?force=true") == 200
    followed.await_planned(0)


def test_of_several_models_the_plan_is_offered_that_saves_most(followed: Followed, follow: Follow) -> None:
    packages = models(5)
    follower = follow(followed)
    followed.put("a", archive(*packages[:2]))
    followed.put("b", archive(*packages[2:]))
    followed.await_planned(2)
    saved: dict[tuple[str, str], int] = {}
    for source, target in itertools.product(digests_of(packages[:2]), digests_of(packages[2:])):
        answer = followed.repository.find(source, target, key_of(CHEAP))
        if isinstance(answer, KeptPlan):
            saved[source, target] = answer.estimate.load_ns - answer.estimate.transform_ns
    best = max(saved.values())
    found = ends(follower, followed.key("a"), followed.key("b"))
    assert found is not None
    assert saved[found] == best > min(saved.values())


def test_functions_with_one_model_become_each_other(followed: Followed, follow: Follow) -> None:
    (model,) = models(1)
    follower = follow(followed)
    followed.put("a", archive(model))
    followed.put("b", archive(model))
    assert followed.await_planned(2) == Planned(actions=2, models=1, plans=1)
    assert ends(follower, followed.key("a"), followed.key("b")) == (model.digest, model.digest)


def test_without_costs_nothing_is_planned_or_written(followed: Followed, follow: Follow) -> None:
    first, second = models(2)
    follower = follow(followed, lambda: None)
    followed.put("a", archive(first))
    followed.put("b", archive(second))
    follower.close()
    assert follower.offer(followed.key("a"), followed.key("b")) is None
    assert not followed.repository.root.exists()
