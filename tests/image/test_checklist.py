"""OpenWhisk's own checklist, row by row, over HTTP against the image."""

from __future__ import annotations

import pytest

from tests.image.conftest import Start
from tests.image.containers import ImageContainer
from tests.runtime.checklist import ROWS, Row

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("image")]


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_checklist(row: Row, request: pytest.FixtureRequest) -> None:
    if row.environ:
        start: Start = request.getfixturevalue("start")
        row.check(start(environ=row.environ))
    else:
        container: ImageContainer = request.getfixturevalue("container")
        row.check(container)
