"""Pack a PyTorch model into a folder of data: model.json and model.safetensors.

  instar pack my_models:resnet --input 'x=float32[batch:1..64,3,224,224]' -o resnet
  instar pack my_models:bert --kwargs '{"layers": 6}' \\
      --input 'input_ids=int64[batch:1..8,seq:1..512]' --input 'attention_mask=int64[batch,seq]' -o bert
  instar pack traced.pt2 -o model

MODEL is MODULE:CALLABLE (a function or class that gives an nn.Module with its weights loaded), or a .pt2 file that
torch.export.save wrote. A dimension is a size, or NAME:LEAST..GREATEST, or the NAME alone once it has bounds.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any

from instar.commands import inputs
from instar.errors import PackError

HELP = "make a model package of a PyTorch model"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("model", metavar="MODEL", help="MODULE:CALLABLE, or a .pt2 file")
    parser.add_argument("--kwargs", default="{}", metavar="JSON", help="keyword arguments for CALLABLE")
    parser.add_argument(
        "--input", action="append", default=[], metavar="NAME=DTYPE[SHAPE]", help="one for each input"
    )
    parser.add_argument("-o", "--output", required=True, metavar="DIR", help="the folder to make")
    parser.add_argument(
        "--weights-uri", metavar="URL", help="where the weights will lie for those who load the model"
    )
    parser.add_argument("--force", action="store_true", help="replace a package that is there already")
    parser.add_argument("--json", action="store_true", help="print what was packed as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Pack; a progress bar goes to standard error, the result to standard output."""
    declared = [inputs.parse(text) for text in arguments.input]
    source = _source(arguments.model, arguments.kwargs)
    import torch
    from tqdm import tqdm

    from instar.packing import pack

    if not isinstance(source, torch.export.ExportedProgram) and not declared:
        raise PackError("a model needs its inputs: add --input NAME=DTYPE[SHAPE] for each parameter of forward()")
    bounds = inputs.bounds(declared)
    with tqdm(unit="B", unit_scale=True, desc="tracing", disable=arguments.json, leave=False) as bar:

        def progress(what: str, done: int, total: int) -> None:
            bar.set_description_str(what, refresh=False)
            bar.total = total
            bar.update(done - bar.n)

        package = pack(
            source,
            {one.name: torch.zeros(one.example_shape, dtype=getattr(torch, one.dtype)) for one in declared},
            arguments.output,
            dims={one.name: one.dynamic for one in declared if one.dynamic},
            bounds=bounds,
            weights_uri=arguments.weights_uri,
            overwrite=arguments.force,
            progress=progress,
        )  # fmt: skip
    if arguments.json:
        print(json.dumps({"directory": os.fspath(Path(arguments.output)), "digest": package.digest,
                          "structure": package.structure_digest, "weights_bytes": package.weights.size,
                          "nodes": len(package.graph.nodes), "tensors": len(package.tensors)}))  # fmt: skip
    else:
        print(f"{arguments.output}: {package.signature}")
        print(f"{len(package.graph.nodes)} operators, {len(package.tensors)} tensors, {package.weights.size} bytes, "
              f"digest {package.digest[:16]}")  # fmt: skip
    return 0


def _source(model: str, kwargs: str) -> Any:
    """The module, or the traced program, that MODEL names. Raises `PackError`."""
    if model.endswith(".pt2"):
        return _traced(Path(model))
    module_name, separator, callable_name = model.partition(":")
    if not separator or not module_name or not callable_name:
        raise PackError(f"{model!r} is neither MODULE:CALLABLE nor a .pt2 file")
    try:
        arguments = json.loads(kwargs)
    except ValueError as error:
        raise PackError(f"--kwargs is not JSON: {error}") from None
    if not isinstance(arguments, dict):
        raise PackError(f"--kwargs must be a JSON object, not {kwargs!r}")
    sys.path.insert(0, os.getcwd())  # as `python -m` does: the author's own module is in their folder
    try:
        found: Any = importlib.import_module(module_name)
        for part in callable_name.split("."):
            found = getattr(found, part)
    except ImportError as error:
        raise PackError(f"{module_name!r} cannot be imported: {error}") from error
    except AttributeError:
        raise PackError(f"module {module_name!r} has no {callable_name!r}") from None
    import torch

    if isinstance(found, torch.nn.Module):
        return found
    try:
        built = found(**arguments)
    except Exception as error:
        raise PackError(
            f"{model} failed when it was called with {arguments}: {type(error).__name__}: {error}"
        ) from error
    if not isinstance(built, torch.nn.Module | torch.export.ExportedProgram):
        raise PackError(f"{model} gave a {type(built).__name__}; it must give a torch.nn.Module")
    return built


def _traced(path: Path) -> Any:
    import torch

    try:
        return torch.export.load(path)
    except Exception as error:  # torch.export.load raises whatever its readers raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise PackError(f"{path} cannot be read as a .pt2 file of torch.export.save: {reason}") from error
