"""Kinds whose manifest says `"sentinelledLogs": false`: their containers write no sentinels, so none are awaited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from engines import WAIT_S, Engine
from jobs import action, invocation

from instar_controller.clients import threads
from instar_controller.engines.invoker import EngineSettings
from instar_controller.whisk.action import Exec
from instar_controller.whisk.activation import Activation

PRINTING = "def main(args):\n    print('hello')\n    return args\n"
NOT_WHOLE = "There was an issue while collecting your logs. Data might be missing."
LONGER_THAN_A_TEST_MS = 10 * round(WAIT_S * 1000)

Make = Callable[..., Engine]


@pytest.fixture(autouse=True)
def _no_sentinels(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_end_log", lambda book: None)


def settings(**more: object) -> EngineSettings:
    return EngineSettings(quiet_log_ms=20, **more)  # type: ignore[arg-type]


def record(engine: Engine, job: object) -> Activation:
    engine.invoker.submit(job)  # type: ignore[arg-type]
    return engine.record()


def said(activation: Activation) -> list[str]:
    return [line.split(": ", 1)[1] for line in activation.logs]


def test_the_log_of_such_a_kind_is_read_until_it_is_quiet(make_engine: Make) -> None:
    engine = make_engine(settings=settings(unmarked_kinds={"python:3"}, log_wait_ms=LONGER_THAN_A_TEST_MS))
    assert said(record(engine, invocation(action(PRINTING)))) == ["hello"]


def test_of_any_other_kind_sentinels_are_missed(make_engine: Make) -> None:
    engine = make_engine(settings=settings(unmarked_kinds={"python:4"}, log_wait_ms=20))
    assert said(record(engine, invocation(action(PRINTING)))) == ["hello", NOT_WHOLE]


def test_an_image_of_a_users_is_like_such_a_kind_unless_the_manifest_names_it(make_engine: Make) -> None:
    for is_trusted, expected in ((False, ["hello"]), (True, ["hello", NOT_WHOLE])):
        patience_ms = 20 if is_trusted else LONGER_THAN_A_TEST_MS
        engine = make_engine(settings=settings(log_wait_ms=patience_ms))
        own = Exec("blackbox", PRINTING, binary=False, image="me/mine:1", is_trusted=is_trusted)
        assert said(record(engine, invocation(replace(action(), exec=own)))) == expected
