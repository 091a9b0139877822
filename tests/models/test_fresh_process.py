"""A package runs in a process that has done nothing before: neither traced, nor packed, nor run a module."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

import instar

RUN = """
import sys, pathlib, torch
from instar.executor import load
from instar.weights.store import Store
folder = pathlib.Path(sys.argv[1])
model = load.load(folder / "package", store=Store(folder / "store"))
torch.save(model.run({"x": torch.ones(1, 1, 3, 4)})[0], folder / "answer.pt")
"""


class Padded(torch.nn.Module):
    """The padding value is a float that may be None: torch imports what it needs to convert it, the first time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.pad(x, (1, 0, 2, 0), value=0.5).clamp(min=None, max=7.0)


@pytest.mark.system
def test_a_package_runs_in_a_process_that_has_done_nothing_before(tmp_path: Path) -> None:
    instar.pack(Padded(), torch.zeros(1, 1, 3, 4), tmp_path / "package")
    done = subprocess.run([sys.executable, "-c", RUN, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert torch.equal(torch.load(tmp_path / "answer.pt"), Padded()(torch.ones(1, 1, 3, 4)))
