"""What was recorded from the stock Python image, replayed against the running processes.

The image's replay is part of every test run (`tests.image.test_recorded`); this one is for where there is no engine.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.runtime import recorded
from tests.runtime.conftest import Start

DIFFERENCES = Path(__file__).parents[2] / "docs" / "differences.md"


def test_every_difference_is_a_row_of_the_document() -> None:
    section = DIFFERENCES.read_text().split("\n## The runtime")[1].split("\n## ")[0]
    rows = set(re.findall(r"^\| (.*?) \|", section, re.MULTILINE))
    named = {row for instead in recorded.OURS.values() for row in instead.rows}
    assert named - rows == set()


def test_every_difference_is_of_an_exchange() -> None:
    assert set(recorded.OURS) <= set(recorded.BY_NAME)
    assert len(recorded.BY_NAME) == len(recorded.EXCHANGES)


def test_a_traceback_counts_by_its_last_line() -> None:
    log = 'before\nTraceback (most recent call last):\n  File "a", line 1\n    x\n  ^^^\nKeyError: 1\n\n'
    assert recorded.normal(log + "2026/11/22 02:22:25 Once.\n") == "before\nKeyError: 1\n\n<time> Once.\n"


@pytest.mark.system
@pytest.mark.slow
@pytest.mark.parametrize("name", recorded.BY_CONTAINER)
def test_a_recorded_container_is_answered_alike(start: Start, name: str) -> None:
    container = start(environ=recorded.environ(name))
    for one, answer in recorded.replay(container, recorded.BY_CONTAINER[name]):
        recorded.judge(one, answer)
