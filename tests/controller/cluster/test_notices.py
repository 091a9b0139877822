"""What a program tells of itself has a name that those who start it go by, and one line for people at most times."""

from __future__ import annotations

import json
import typing

import pytest

from instar_controller import notices
from instar_controller.clients.costs import Measured, Measuring
from instar_controller.engines.follower import Planned
from instar_controller.notices import (
    Answering,
    Draining,
    Ended,
    Listening,
    Notice,
    Prewarmed,
    Removed,
    Waiting,
    Working,
)
from instar_controller.policies.removal import Reason, Why
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import Ending

GONE = Removed(ContainerId("7"), Reason(Why.ENDED, "why"), Ending(-9))
SAMPLES: list[tuple[Notice, dict[str, object], int]] = [
    (Measuring("cpu"), {"event": "measuring", "device": "cpu"}, 1),
    (Measured("cpu", "1 %"), {"event": "measured", "device": "cpu", "held_out": "1 %"}, 1),
    (Planned(1, 2, 3), {"event": "planned", "actions": 1, "models": 2, "plans": 3}, 0),
    (Answering("a", "http://b", True), {"event": "answering", "name": "a", "url": "http://b"}, 1),
    (Waiting("the bus", "c"), {"event": "waiting", "for": "the bus", "why": "c"}, 1),
    (Working("a", "t"), {"event": "working", "name": "a", "topic": "t"}, 1),
    (Prewarmed("python:3", 256), {"event": "prewarmed", "kind": "python:3", "memory": 256}, 0),
    (
        GONE,
        {
            "event": "removed",
            "container": "7",
            "reason": Why.ENDED.value,
            "detail": "why",
            "ending": "killed by SIGKILL",
        },
        0,
    ),
    (Draining(30), {"event": "draining", "seconds": 30}, 1),
    (Ended(), {"event": "ended"}, 1),
]


@pytest.mark.parametrize(("notice", "event", "lines"), SAMPLES, ids=lambda value: type(value).__name__)
def test_a_notice_is_one_line_of_json_and_what_people_should_know(
    notice: Notice, event: dict[str, object], lines: int, capsys: pytest.CaptureFixture[str]
) -> None:
    notices.print_json(notice)
    told = capsys.readouterr().out
    assert told.count("\n") == 1
    assert json.loads(told) == event
    notices.print_text(notice)
    assert capsys.readouterr().out.count("\n") == lines


def test_a_container_that_did_not_end_by_itself_has_no_ending() -> None:
    assert "ending" not in notices.event(Removed(ContainerId("7"), Reason(Why.IDLE, ""), None))


def test_every_notice_is_among_the_samples_but_for_the_servers_first() -> None:
    assert {type(notice) for notice, _, _ in SAMPLES} | {Listening} == set(typing.get_args(Notice))


def test_whoever_reads_no_more_stops_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr("builtins.print", broken)
    notices.print_json(Ended())
    notices.print_text(Ended())
