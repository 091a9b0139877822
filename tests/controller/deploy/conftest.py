"""The controller plugin's image, for the tests that run it; they need a Docker engine as those of `tests/image`."""

from __future__ import annotations

import pytest
from deploy.image import make
from deploy.image.engine import Engine
from deploy.image.recipes import CONTROLLER


@pytest.fixture(scope="session")
def controller_image(docker_engine: Engine) -> str:
    """The plugin's image of this checkout: built if what the engine has was built from something else."""
    return make.image(docker_engine, lambda _: None, recipe=CONTROLLER).image
