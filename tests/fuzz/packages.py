"""Small packed models for the targets that need one."""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

import torch

import instar
from tests.runtime.modules import Named, Net, Pair


@cache
def folder() -> Path:
    """A directory that this process removes at its end."""
    path = Path(tempfile.mkdtemp(prefix="instar-fuzz-"))
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@cache
def packed() -> dict[str, Path]:
    """The packages `net`, `pair` and `named`; see `tests.runtime.modules`."""
    torch.manual_seed(4)
    root = folder()
    ids, mask = torch.arange(4), torch.ones(4, dtype=torch.bool)
    instar.pack(Net().eval(), {"x": torch.zeros(2, 3, 16, 16)}, root / "net", dims={"x": {0: "batch"}},
                bounds={"batch": (1, 8)})  # fmt: skip
    instar.pack(Pair(), {"ids": ids, "mask": mask}, root / "pair", dims={"ids": {0: "n"}, "mask": {0: "n"}},
                bounds={"n": (1, 10**6)})  # fmt: skip
    instar.pack(Named(), {"x": torch.ones(3, dtype=torch.bfloat16)}, root / "named")
    return {name: root / name for name in ("net", "pair", "named")}
