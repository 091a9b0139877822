"""A follower that begins where another one ended knows what that one knew, and looks at what has changed."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from followed import Followed, archive, ends
from registered import WAIT_S, entries, models

from instar import package
from instar_controller.clients import wanted
from instar_controller.clients.models import Surroundings
from instar_controller.engines import follower as followers
from instar_controller.engines import registry as registries
from instar_controller.engines.follower import Follower, Planned
from instar_controller.whisk.document import Document, Key

pytestmark = pytest.mark.system

Follow = Callable[..., Follower]


def three_actions(followed: Followed) -> None:
    for name, model in zip("abc", models(3), strict=True):
        followed.put(name, archive(model))


def refuse(*_: object) -> NoReturn:
    raise AssertionError("this was known")


def test_nothing_is_looked_at_or_planned_again(
    followed: Followed, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_actions(followed)
    follower = follow(followed)
    followed.await_planned(3)
    follower.close()
    before = entries(followed.repository)
    monkeypatch.setattr(wanted, "look", refuse)
    monkeypatch.delattr(registries, "ProcessPoolExecutor")
    follower = follow(followed)
    assert followed.await_planned(3) == Planned(actions=3, models=3, plans=9)
    first, second, _ = models(3)
    assert ends(follower, followed.key("a"), followed.key("b")) == (first.digest, second.digest)
    roll = followed.repository.root / "roll"
    after = entries(followed.repository)
    assert {path: when for path, when in after.items() if path != roll} == {
        path: when for path, when in before.items() if path != roll
    }


def test_what_has_changed_in_between_is_seen_and_what_nobody_needs_is_removed(
    followed: Followed, follow: Follow
) -> None:
    three_actions(followed)
    follower = follow(followed)
    followed.await_planned(3)
    follower.close()
    a, b, c, d = models(4)
    followed.delete("a")
    followed.put("b", archive(d))
    follower = follow(followed)
    assert followed.await_planned(2) == Planned(actions=2, models=2, plans=4)
    assert ends(follower, followed.key("b"), followed.key("c")) == (d.digest, c.digest)
    kept = {path.name for path in (followed.repository.root / "models").iterdir()}
    assert kept == {c.digest, d.digest}
    assert not {a.digest, b.digest} & {part for path in entries(followed.repository) for part in path.parts}


def damage(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20] + b"?")


@pytest.mark.parametrize("what", ["roll", "models"])
def test_what_is_damaged_is_looked_at_again(followed: Followed, follow: Follow, what: str) -> None:
    three_actions(followed)
    follower = follow(followed)
    followed.await_planned(3)
    follower.close()
    place = followed.repository.root / what
    damage(place if place.is_file() else next(place.iterdir()))
    follow(followed)
    assert followed.await_planned(3) == Planned(actions=3, models=3, plans=9)


def test_a_follower_that_is_closed_before_it_has_seen_everything_removes_nothing(
    followed: Followed, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    three_actions(followed)
    follower = follow(followed)
    followed.await_planned(3)
    follower.close()
    before = entries(followed.repository)
    asked, closed, get = threading.Event(), threading.Event(), followed.store.get

    def get_when_closed(key: Key) -> Document:
        asked.set()
        assert closed.wait(WAIT_S)
        return get(key)

    monkeypatch.setattr(followed.store, "get", get_when_closed)
    monkeypatch.setattr(followers, "CLOSE_S", 0)
    hurried = follow(followed)
    assert asked.wait(WAIT_S)
    hurried.close()
    closed.set()
    monkeypatch.setattr(followers, "CLOSE_S", WAIT_S)
    hurried.close()
    assert entries(followed.repository) == before


def test_a_model_at_a_place_that_does_not_answer_is_still_what_it_was(
    followed: Followed, follow: Follow, tmp_path: Path
) -> None:
    first, second = models(2)
    place = tmp_path / "net"
    place.mkdir()
    (place / package.MODEL_FILE).write_bytes(package.encode(first))
    followed.put("a", archive(), variables={"INSTAR_MODEL": str(place)})
    followed.put("b", archive(second))
    here = Surroundings(shares_files=True)
    follower = follow(followed, surroundings=here)
    followed.await_planned(2)
    follower.close()
    (place / package.MODEL_FILE).unlink()
    follower = follow(followed, surroundings=here)
    followed.await_planned(2)
    a = followed.key("a", INSTAR_MODEL=str(place))
    assert ends(follower, a, followed.key("b")) == (first.digest, second.digest)
