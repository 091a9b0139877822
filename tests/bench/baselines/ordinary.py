"""B0, what most people do: download the file, build the module, `torch.load`, `load_state_dict`, answer.

The module is built with its default initialisation and the weights are copied over it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from tests.bench.baselines.origin import Downloaded, Local, Remote


def answer(
    origin: Remote | Local,
    nbytes: int,
    build: Callable[[], torch.nn.Module],
    run: Callable[[torch.nn.Module], torch.Tensor],
    *,
    folder: Path,
) -> torch.Tensor:
    """The first answer, by way of a `.pt` file of `nbytes` at `origin`."""
    with Downloaded(origin, nbytes, folder / "downloaded.pt") as file:
        module = build().eval()
        module.load_state_dict(torch.load(file.path, weights_only=True))
        return run(module)
