"""Fixtures that climb: a store, a packed model in it, a copy of it to damage."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import instar
from instar.weights.store import Store
from tests.packages.modules import Convolutional


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def packed(tmp_path_factory: pytest.TempPathFactory) -> tuple[torch.nn.Module, Path]:
    """A module in evaluation mode, and its package with a dynamic batch of 1 to 8. Not to be changed."""
    torch.manual_seed(0)
    module = Convolutional().eval()
    directory = tmp_path_factory.mktemp("packed") / "model"
    instar.pack(module, {"x": torch.zeros(2, 3, 8, 8)}, directory, dims={"x": {0: "batch"}}, bounds={"batch": (1, 8)})
    return module, directory


@pytest.fixture
def copy(packed: tuple[torch.nn.Module, Path], tmp_path: Path) -> Callable[[], Path]:
    """Makes a copy of the package that a test may damage."""

    def make() -> Path:
        target = tmp_path / "copy"
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(packed[1], target)
        return target

    return make
