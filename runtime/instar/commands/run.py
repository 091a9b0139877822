"""Run a model package once on inputs from .npy files, without any server.

instar run resnet --input x=image.npy --output answer.npy
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

from instar.errors import InputError, SourceError

HELP = "run a model package on .npy files"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("directory", metavar="DIR", type=Path, help="a model package")
    parser.add_argument("--input", action="append", default=[], metavar="NAME=FILE.npy", help="one for each input")
    parser.add_argument(
        "--output", metavar="FILE", type=Path, help="write the outputs here: .npy, or .npz for several"
    )
    parser.add_argument(
        "--store", metavar="DIR", type=Path, help="the node's store (default: $INSTAR_STORE or the cache)"
    )
    parser.add_argument("--json", action="store_true", help="print the outputs in full as one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Load, run, show."""
    import numpy
    import torch

    from instar.executor.load import load
    from instar.weights.store import Store, default_root

    given = {}
    for text in arguments.input:
        name, _, path = text.partition("=")
        try:
            given[name] = torch.from_numpy(numpy.load(path, allow_pickle=False))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"--input {text!r}: {path!r} is no readable .npy file ({error})") from error
    model = load(arguments.directory, store=Store(arguments.store or default_root(dict(os.environ))))
    outputs = dict(zip((p.name for p in model.signature.outputs), model.run(given), strict=True))
    if arguments.output is not None:
        try:
            _save(numpy, arguments.output, outputs)
        except OSError as error:
            raise SourceError(f"{arguments.output} cannot be written: {error.strerror}") from error
    if arguments.json:
        print(json.dumps({name: tensor.tolist() for name, tensor in outputs.items()}))
    else:
        for name, tensor in outputs.items():
            print(f"{name}: {str(tensor.dtype).removeprefix('torch.')}{list(tensor.shape)}")
            print(tensor)
    return 0


def _save(numpy: Any, path: Path, outputs: dict[str, Any]) -> None:
    if len(outputs) == 1 and path.suffix != ".npz":
        numpy.save(path, next(iter(outputs.values())).numpy())
    else:
        numpy.savez(path, **{name: tensor.numpy() for name, tensor in outputs.items()})
