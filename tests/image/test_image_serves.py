"""The image as any OpenWhisk would use it: started, initialised, run, stopped."""

from __future__ import annotations

import pytest

from tests.image.containers import ImageContainer

pytestmark = pytest.mark.system

ECHO = "def main(args):\n    print('hello')\n    return args\n"


def test_a_function_is_initialised_and_run(container: ImageContainer) -> None:
    assert container.init(ECHO).json == {"ok": True}
    answer = container.run({"n": 1})
    assert (answer.status, answer.json) == (200, {"n": 1})
    assert answer.printed == ("hello", "")
    assert answer.sentinels == (1, 1)
