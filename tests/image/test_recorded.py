"""What was recorded from the stock Python image, replayed against ours, in order, container by container."""

from __future__ import annotations

import pytest

from tests.image.conftest import Start
from tests.image.containers import ImageContainer
from tests.runtime import recorded

pytestmark = [pytest.mark.system, pytest.mark.usefixtures("image")]


@pytest.mark.parametrize("name", recorded.BY_CONTAINER)
def test_a_recorded_container_is_answered_alike(name: str, request: pytest.FixtureRequest) -> None:
    environ = recorded.environ(name)
    if environ:
        start: Start = request.getfixturevalue("start")
        container = start(environ=environ)
    else:
        container = request.getfixturevalue("container")
    assert isinstance(container, ImageContainer)
    for one, answer in recorded.replay(container, recorded.BY_CONTAINER[name]):
        recorded.judge(one, answer)
