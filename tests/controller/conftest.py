"""Puts this folder on the path: `container_processes` and `docker_rig` serve the tests of several of its folders."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from deploy.image.engine import Engine
from deploy.image.errors import ImageError
from deploy.image.names import IMAGE
from tests.image import engine as engines


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[Engine]:
    try:
        with engines.available() as found:
            yield found
    except ImageError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def action_image(docker_engine: Engine) -> str:
    return os.environ.get("DK_IMAGE", IMAGE)
