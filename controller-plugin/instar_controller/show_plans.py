"""Show by which plans the actions of `instar serve`, or of a cluster, become each other, and what that should take.

  instar plans                     a row a source, a column a target; `load` where that is no slower
  instar plans --png plans.png     the same as a picture (needs pillow)
  instar plans --json              every pair, with both estimates
  instar plans --cluster           of `instar dispatcher` and `instar invoker`, from the database that they share: the
                                   environment names it by the variables that they read, `CONFIG_whisk_couchdb_host`
                                   and those beside it, and `INSTAR_PLANS_DATABASE`

A server may be running on that state meanwhile, and so may all programs of a cluster.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

from instar.plan.plans import LoadInstead
from instar_controller import matrix as matrices
from instar_controller import serving, settings
from instar_controller.clients.plans import Answer, PlanRepository
from instar_controller.errors import ControllerError, SettingsError
from instar_controller.matrix import Matrix

CELL = 13  # characters
HELP = "show the plans by which served actions become each other"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    state = "state of the server (default: ~/.local/state/instar)"
    place = parser.add_mutually_exclusive_group()
    place.add_argument("--state", type=Path, metavar="DIR", help=state)
    place.add_argument("--cluster", action="store_true", help="plans of a cluster, from its database")
    parser.add_argument("--device", metavar="KIND", help="with --cluster: the kind of device, if there are several")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw the matrix into a file")


def run(arguments: argparse.Namespace) -> int:
    """Print or draw the matrix. The exit status is 0, or 1 with one line that says why there is none."""
    try:
        matrix = _read(arguments)
        if arguments.png is not None:
            _draw(matrix, arguments.png)
    except ControllerError as error:
        print(f"instar plans: {error}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(as_json(matrix)))
    else:
        print("\n".join(lines(matrix)))
    return 0


def _read(arguments: argparse.Namespace) -> Matrix:
    if arguments.cluster:
        # Late: whoever has no cluster needs none of its libraries.
        from instar_controller import cluster_plans

        return cluster_plans.read(os.environ, arguments.device)
    if arguments.device is not None:
        raise SettingsError("--device goes with --cluster: a server plans for the device that it runs on")
    state = arguments.state or settings.default_state(os.environ)
    return matrices.read(PlanRepository(state / serving.PLANS_FOLDER))


def lines(matrix: Matrix) -> Iterator[str]:
    """The matrix for people."""
    yield f"{len(matrix.models)} models of actions, {matrix.plans} plans between them, estimated for {matrix.device}"
    yield "ms to transform/to load a column's model in a container that holds a row's"
    width = max((len(model.name) for model in matrix.models), default=0)
    numbers = range(1, len(matrix.models) + 1)
    yield " " * (width + 4) + "".join(f"{number:>{CELL}}" for number in numbers)
    for number, source in zip(numbers, matrix.models, strict=True):
        cells = "".join(f"{_cell(matrix.answer(source, target)):>{CELL}}" for target in matrix.models)
        yield f"{number:>3} {source.name:<{width}}{cells}"


def as_json(matrix: Matrix) -> dict[str, object]:
    """The matrix for programs; pairs that are not planned yet are missing."""
    return {
        "device": matrix.device,
        "models": [{"name": model.name, "digest": model.digest} for model in matrix.models],
        "pairs": [
            {
                "source": source.name,
                "target": target.name,
                "plan": not isinstance(answer, LoadInstead),
                "transform_ms": answer.estimate.transform_ns / 1e6,
                "load_ms": answer.estimate.load_ns / 1e6,
            }
            for source in matrix.models
            for target in matrix.models
            if (answer := matrix.answer(source, target)) is not None
        ],
    }


def _cell(answer: Answer | None) -> str:
    if answer is None:
        return "-"
    load_ms = answer.estimate.load_ns / 1e6
    if isinstance(answer, LoadInstead):
        return f"load/{load_ms:.2f}"
    return f"{answer.estimate.transform_ns / 1e6:.2f}/{load_ms:.2f}"


def _draw(matrix: Matrix, path: Path) -> None:
    try:
        from instar_controller import heatmap  # late: whoever wants no picture needs no pillow
    except ImportError as error:
        raise SettingsError(f"--png needs pillow, which is not installed ({error}): pip install pillow") from error
    try:
        path.write_bytes(heatmap.png(matrix))
    except OSError as error:
        raise SettingsError(f"--png {path} cannot be written: {error.strerror}; name another file") from error
