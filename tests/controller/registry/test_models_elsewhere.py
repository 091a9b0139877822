"""A model that an action's environment names, by a path or a URL, is planned with like those in archives."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from followed import Followed, archive, ends
from registered import WAIT_S, models
from tests.runtime.source import Source

from instar import package
from instar_controller.clients.models import Surroundings
from instar_controller.engines.follower import Follower

pytestmark = pytest.mark.system

Follow = Callable[..., Follower]
HERE = Surroundings(shares_files=True)
NO_MODEL = archive()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """With a package `net`, which is the first model."""
    (tmp_path / "served" / "net").mkdir(parents=True)
    (tmp_path / "served" / "net" / package.MODEL_FILE).write_bytes(package.encode(models(1)[0]))
    return tmp_path / "served"


@pytest.fixture
def source(folder: Path) -> Iterator[Source]:
    source = Source(folder)
    thread = threading.Thread(target=source.serve, daemon=True)
    thread.start()
    yield source
    source.close()
    thread.join()


def test_a_model_at_a_path_is_planned_where_containers_see_this_machines_files(
    followed: Followed, follow: Follow, folder: Path
) -> None:
    first, second = models(2)
    path = f"{folder}/net"
    followed.put("a", NO_MODEL, variables={"INSTAR_MODEL": path + "/"})
    followed.put("b", archive(second))
    follower = follow(followed, surroundings=HERE)
    followed.await_planned(2)
    a, b = followed.key("a", INSTAR_MODEL=path + "/"), followed.key("b")
    assert ends(follower, a, b) == (first.digest, second.digest)
    assert ends(follower, b, a) == (second.digest, first.digest)
    assert follower.offer(followed.key("a"), b) is None  # a container that was not given it does not have it


def test_a_path_of_the_containers_own_is_not_looked_at(
    followed: Followed, follow: Follow, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    followed.put("a", NO_MODEL, variables={"INSTAR_MODEL": f"{folder}/net"})
    followed.put("b", archive(models(1)[0]))
    follow(followed)
    assert followed.await_planned(1).models == 1
    assert caplog.text == ""


def test_a_model_at_a_url_is_planned(followed: Followed, follow: Follow, source: Source) -> None:
    first, second = models(2)
    followed.put("a", NO_MODEL, variables={"INSTAR_MODEL": f"{source.url}/net"})
    followed.put("b", archive(second))
    follower = follow(followed)
    followed.await_planned(2)
    a = followed.key("a", INSTAR_MODEL=f"{source.url}/net")
    assert ends(follower, a, followed.key("b")) == (first.digest, second.digest)


def test_a_url_that_does_not_answer_keeps_no_other_action_waiting(
    followed: Followed, follow: Follow, source: Source
) -> None:
    first, second = models(2)
    source.hold(f"net/{package.MODEL_FILE}")
    followed.put("slow", NO_MODEL, variables={"INSTAR_MODEL": f"{source.url}/net"})
    follower = follow(followed)
    source.await_asked(f"net/{package.MODEL_FILE}")
    followed.put("a", archive(first))
    followed.put("b", archive(second))
    followed.await_planned(2)
    assert ends(follower, followed.key("a"), followed.key("b")) == (first.digest, second.digest)
    source.release(f"net/{package.MODEL_FILE}")
    followed.await_planned(3)


def test_what_is_no_package_at_its_place_is_a_line_in_the_log(
    followed: Followed, follow: Follow, source: Source, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    followed.put("a", NO_MODEL, variables={"INSTAR_MODEL": f"{source.url}/nothing"})
    followed.put("b", archive(models(1)[0]))
    follow(followed)
    followed.await_planned(1)
    deadline_s = time.monotonic() + WAIT_S
    while not caplog.records:  # it is told by the thread that has looked there
        assert time.monotonic() < deadline_s
        time.sleep(0.001)
    (record,) = caplog.records
    assert f"the model at {source.url}/nothing gets no plans" in record.getMessage()


def test_a_package_of_actions_gives_its_actions_their_model(followed: Followed, follow: Follow, folder: Path) -> None:
    first, second = models(2)
    follower = follow(followed, surroundings=HERE)
    assert followed.request("PUT", "packages/group", {}) == 200
    followed.put("group/a", NO_MODEL)
    followed.put("b", archive(second))
    followed.await_planned(1)
    path = f"{folder}/net"
    given = [{"key": "INSTAR_MODEL", "value": path, "init": True}]
    assert followed.request("PUT", "packages/group?overwrite=true", {"parameters": given}) == 200
    followed.await_planned(2)
    a = followed.key("group/a", INSTAR_MODEL=path)
    assert ends(follower, a, followed.key("b")) == (first.digest, second.digest)
    assert followed.request("PUT", "packages/group?overwrite=true", {"parameters": []}) == 200
    followed.await_planned(1)
    assert follower.offer(a, followed.key("b")) is None


def test_a_model_that_every_container_is_given_is_each_actions(
    followed: Followed, follow: Follow, folder: Path
) -> None:
    (first,) = models(1)
    followed.put("a", NO_MODEL)
    followed.put("b", NO_MODEL)
    follower = follow(followed, surroundings=Surroundings(everywhere=f"{folder}/net", shares_files=True))
    assert followed.await_planned(2).models == 1
    assert ends(follower, followed.key("a"), followed.key("b")) == (first.digest, first.digest)
