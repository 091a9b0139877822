"""Whatever is in an archive, it costs nobody but its author a plan, and nobody an answer."""

from __future__ import annotations

import base64
import logging
import threading
from collections.abc import Callable

import pytest
from followed import Followed, archive, ends
from registered import WAIT_S, models

from instar import package
from instar_controller.clients import models as readers
from instar_controller.clients import wanted
from instar_controller.engines.follower import Follower, Planned
from instar_controller.whisk.document import Key

pytestmark = pytest.mark.system

Follow = Callable[..., Follower]
DAMAGED = package.encode(models(1)[0]).replace(b'"linear', b'"nonsense', 1)[:-100]


def test_a_damaged_package_hides_no_other_one(
    followed: Followed, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    first, second = models(2)
    follower = follow(followed)
    followed.put("a", archive(first, damaged=DAMAGED))
    followed.put("b", archive(second))
    assert followed.await_planned(2) == Planned(actions=2, models=2, plans=4)
    assert ends(follower, followed.key("a"), followed.key("b")) == (first.digest, second.digest)
    (record,) = caplog.records
    assert record.getMessage().startswith("the model damaged of guest/a gets no plans")


def test_a_package_that_says_it_is_another_model_is_not_believed(
    followed: Followed, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    first, second = models(2)
    forged = package.encode(second).replace(second.digest.encode(), first.digest.encode())
    follow(followed)
    followed.put("a", archive(first))
    followed.put("b", archive(forged=forged))
    followed.put("c", archive(second))
    assert followed.await_planned(2).models == 2
    assert "changed or damaged after packing" in caplog.text


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (base64.b64encode(b"no zip at all").decode(), "cannot be read"),
        (base64.b64encode(base64.b64decode(archive(models(1)[0]))[:-30]).decode() + "====", "cannot be read"),
        (archive(*models(1) * (readers.MAX_PACKAGES + 1)), "more than 32 model packages"),
    ],
    ids=["no zip", "cut short", "too many packages"],
)
def test_an_archive_that_cannot_be_used_is_a_line_in_the_log(
    followed: Followed, follow: Follow, caplog: pytest.LogCaptureFixture, code: str, why: str
) -> None:
    caplog.set_level(logging.WARNING)
    follow(followed)
    followed.put("bad", code)
    followed.put("good", archive(*models(1)))
    followed.await_planned(1)
    (record,) = caplog.records
    assert record.getMessage().startswith("the models of guest/bad get no plans")
    assert why in record.getMessage()


def test_models_that_are_too_large_together_are_a_line_in_the_log(
    followed: Followed, follow: Follow, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    (model,) = models(1)
    monkeypatch.setattr(wanted, "MAX_HEAD_BYTES", len(package.encode(model)) + wanted.PEEK_BYTES)
    follow(followed)
    followed.put("a", archive(model, *models(3)[1:]))
    assert followed.await_planned(1).models == 1
    assert caplog.text.count("more than") == 2


def test_source_code_has_no_models_and_no_line(
    followed: Followed, follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    follow(followed)
    followed.put("source", "def main(args):\n    return args\n")
    followed.put("good", archive(*models(1)))
    followed.await_planned(1)
    assert caplog.records == []


def test_nobody_waits_for_an_archive_that_takes_long(
    followed: Followed, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, third = models(3)
    follower = follow(followed)
    followed.put("a", archive(first))
    followed.put("b", archive(second))
    followed.await_planned(2)
    begun, finish, get_code = threading.Event(), threading.Event(), followed.store.get_code

    def get_code_late(key: Key, revision: int) -> str:
        if threading.current_thread().name == "instar-follower":
            begun.set()
            assert finish.wait(WAIT_S)
        return get_code(key, revision)

    monkeypatch.setattr(followed.store, "get_code", get_code_late)
    followed.put("long", archive(third))
    assert begun.wait(WAIT_S)
    followed.put("another", archive(third))
    assert followed.request("GET", "actions/long") == 200
    assert followed.request("DELETE", "actions/another") == 200
    assert ends(follower, followed.key("a"), followed.key("b")) == (first.digest, second.digest)
    assert follower.offer(followed.key("a"), followed.key("long")) is None
    finish.set()
    followed.await_planned(3)
    assert ends(follower, followed.key("a"), followed.key("long")) == (first.digest, third.digest)
