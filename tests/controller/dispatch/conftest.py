"""Puts this folder on the path: `worlds` serves several files of tests."""

from __future__ import annotations

import pytest
from planes import World


@pytest.fixture
def world() -> World:
    return World()
