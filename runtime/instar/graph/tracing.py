"""Running `torch.export`, quietly, and saying what it could not do in words that help the model's author."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import traceback
import warnings
from collections.abc import Iterator, Mapping

import torch

from instar.errors import PackError
from instar.graph.signature import Bounds

# Frames that are not the author's code.
IS_OURS = re.compile(r"/torch/|/instar/(graph|packing)|<frozen|<eval_with_key>")


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """torch.export warns of its own future; who packs a model can do nothing about that."""
    torch_logger = logging.getLogger("torch")
    level = torch_logger.level
    torch_logger.setLevel(logging.CRITICAL)
    try:
        # A failing trace also prints what it had so far; the error says it better.
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        torch_logger.setLevel(level)


def trace(
    module: torch.nn.Module, inputs: Mapping[str, torch.Tensor], dims: Mapping[str, Mapping[int, str]],
    bounds: Mapping[str, Bounds],
) -> torch.export.ExportedProgram:  # fmt: skip
    """The program that `torch.export` makes of a module; nothing is computed. Raises `PackError`."""
    for name, tensor in (*module.named_parameters(), *module.named_buffers()):
        if tensor.is_meta:
            raise PackError(f"{name!r} is on the meta device and has no values; load the weights first")
    named = {name: torch.export.Dim(name, min=b.min, max=b.max) for name, b in bounds.items()}
    shapes = {
        name: {axis: named[dim] for axis, dim in dims[name].items()} if dims.get(name) else None for name in inputs
    }
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(module, (), dict(inputs), dynamic_shapes=shapes, strict=False)
    except Exception as error:
        raise PackError(_explain(error)) from error


def _explain(error: Exception) -> str:
    """What to tell the author: the reason in a sentence, the line of their code, and what to change."""
    text = str(error).strip()
    first = text.splitlines()[0] if text else type(error).__name__
    place = _user_place(error, text)
    where = f" at {place}" if place else ""
    hint = "make the forward pass depend on tensors only: no branches or loops on their values, no calls out of torch"
    if "Constraints violated" in text or "specializ" in text or "not all values of" in text:
        suggested = re.findall(r"^\s+(\w+ = .+)$", text, re.MULTILINE)
        hint = "a dynamic dimension is used as if it were fixed: give it a fixed size" + (
            f", or declare it so: {'; '.join(suggested[:4])}" if suggested else ""
        )
    elif "data-dependent" in text or "GuardOnDataDependent" in type(error).__name__:
        hint = "a branch or a shape depends on a tensor's value: use torch.where or a fixed shape instead"
    return f"torch.export cannot trace the model{where}: {type(error).__name__}: {first}; {hint}"


def _user_place(error: Exception, text: str) -> str:
    """The innermost `file:line` outside torch: from the traceback, or from the message where torch put it there."""
    frames = [(f.filename, f.lineno) for f in traceback.extract_tb(error.__traceback__)]
    frames += [(m[1], int(m[2])) for m in re.finditer(r'File "([^"]+)", line (\d+), in \w+', text)]
    own = [f for f in frames if not IS_OURS.search(f[0])]
    return f"{own[-1][0]}:{own[-1][1]}" if own else ""
