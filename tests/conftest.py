"""What all tests share, whatever folder they are in: the Docker engine and the image under test, one of each.

Where there is no engine and none can be started, the tests that need one are skipped on a laptop and fail in CI.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

# Rows that several files run: they are no tests by name, and are to fail with what was compared all the same.
pytest.register_assert_rewrite("tests.runtime.checklist", "tests.runtime.recorded")

from deploy.image import make  # noqa: E402
from deploy.image.engine import Engine  # noqa: E402
from deploy.image.errors import ImageError  # noqa: E402

from tests import second_attempts  # noqa: E402
from tests.image import engine as engines  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(second_attempts)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Do not count the minutes that making the image takes, once, against the test that happens to come first."""
    for item in items:
        if "docker_engine" in getattr(item, "fixturenames", ()) and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(func_only=True))


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    """A Docker Engine: `client` asks it, `environ` points a command line to it."""
    try:
        with engines.available() as found:
            yield found
    except ImageError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def action_image(docker_engine: Engine) -> str:
    """The action image of this checkout: built if what the engine has was built from something else."""
    return make.image(docker_engine, lambda _: None).image
