"""OpenWhisk's own checklist, row by row, over HTTP against the running processes."""

from __future__ import annotations

import re

import pytest

from tests.runtime.checklist import ROWS, Row
from tests.runtime.conftest import Start
from tests.runtime.containers import Container


def test_every_row_of_the_checklist_is_there_once() -> None:
    names = [row.name for row in ROWS]
    assert len(set(names)) == len(names)
    numbers = {match[0] for name in names if (match := re.match(r"[BPDC]\d+(?= )", name))}
    assert {f"B{n}" for n in range(1, 11)} | {f"P{n}" for n in range(1, 18)} <= numbers


@pytest.mark.system
@pytest.mark.parametrize("row", ROWS, ids=str)
def test_checklist(row: Row, request: pytest.FixtureRequest) -> None:
    if row.environ:
        start: Start = request.getfixturevalue("start")
        row.check(start(environ=row.environ))
    else:
        container: Container = request.getfixturevalue("container")
        row.check(container)
