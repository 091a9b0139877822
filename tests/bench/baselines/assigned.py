"""B1, what those do who know PyTorch of today: download a safetensors file, build on the meta device, assign, answer.

Nothing is initialised and nothing is copied: the parameters are views of the mapped file. Downloading to a file was
faster than downloading to memory, from which safetensors copies each tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

import safetensors.torch
import torch

from tests.bench.baselines.origin import Downloaded, Local, Remote


def answer(
    origin: Remote | Local,
    nbytes: int,
    build: Callable[[], torch.nn.Module],
    run: Callable[[torch.nn.Module], torch.Tensor],
    *,
    unsaved: Mapping[str, torch.Tensor],
    folder: Path,
) -> torch.Tensor:
    """The first answer, by way of a safetensors file of `nbytes` at `origin`.

    `unsaved` are the buffers that no file holds and that a module computes where it is really built: it gets them for
    nothing.
    """
    with Downloaded(origin, nbytes, folder / "downloaded.safetensors") as file:
        module = on_meta(build, unsaved)
        module.load_state_dict(safetensors.torch.load_file(file.path), assign=True)
        return run(module)


def on_meta(build: Callable[[], torch.nn.Module], unsaved: Mapping[str, torch.Tensor]) -> torch.nn.Module:
    """A module without memory, but for the buffers that no file holds."""
    with torch.device("meta"):
        module = build().eval()
    for name, buffer in unsaved.items():
        owner, _, attribute = name.rpartition(".")
        setattr(module.get_submodule(owner), attribute, buffer)
    return module
