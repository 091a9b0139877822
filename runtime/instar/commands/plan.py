"""Explain how one model would become another: operators matched, bytes kept and moved, what it takes, and why or why
not. The plan is carried out on the graphs, which proves that it arrives; no weights are read.

instar plan resnet18 resnet34            two folders with model packages, or zips of actions with one in them
instar plan a b --costs profile.json     with the costs of another device (`instar profile --out DIR` writes them)
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from instar import package, profiles
from instar.action import archive, packages
from instar.errors import InstarError, PackageError, PlanError
from instar.package import Package
from instar.plan import costs as amounts
from instar.plan import outline as outlines
from instar.plan import planner, replay
from instar.plan.costs import Amounts, Costs
from instar.plan.metaops import Edge, Step
from instar.plan.outline import Outline
from instar.plan.plans import Estimate, LoadInstead, Plan

HELP = "explain how one model would become another"
NO_PROFILE = "there is no profile of this kind of device, so nothing is estimated; `instar profile` makes one"


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "source", metavar="A", type=Path, help="the model that is there: a package, or an action's zip"
    )
    parser.add_argument("target", metavar="B", type=Path, help="the model that it is to become")
    parser.add_argument("--costs", metavar="FILE", type=Path, help="a profile (default: that of this kind of device)")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(arguments: argparse.Namespace) -> int:
    """Plan, prove, explain."""
    before, after = _package(arguments.source), _package(arguments.target)
    told = explain(before, after, _costs(arguments.costs))
    if arguments.json:
        print(json.dumps(told))
        return 0
    _show(told)
    return 0


def explain(before: Package, after: Package, costs: Costs | None) -> dict[str, Any]:
    """All there is to say of a plan, as JSON values; without costs nothing of time.

    Raises `PlanError` if the plan does not arrive, which would be a mistake of the planner's.
    """
    source, target = outlines.outline(before), outlines.outline(after)
    steps = planner.steps(source, target, costs or Costs("unknown", {}))
    _prove(source, target, steps, before, after)
    counted = amounts.of_steps(steps)
    told: dict[str, Any] = {
        "source": _model(source),
        "target": _model(target),
        "steps": _kinds(steps),
        "operators": _by_operator(steps),
        "views": {"kept": target.views - counted[amounts.VIEW], "new": counted[amounts.VIEW]},
        "bytes": {"kept": target.nbytes - counted[amounts.MOVED], "moved": counted[amounts.MOVED]},
        "proven": True,
    }
    if costs is None:
        return told | {"estimate": None, "decision": None, "reason": NO_PROFILE}
    answer = planner.plan(source, target, costs)
    told["estimate"] = {
        "device": costs.device,
        "transform_ms": answer.estimate.transform_ns / 1e6,
        "load_ms": answer.estimate.load_ns / 1e6,
        "transform": _parts(costs, amounts.of_transformation(source, target, steps)),
        "load": _parts(costs, amounts.of_load(source, target)),
    }
    if isinstance(answer, LoadInstead):
        return told | {"decision": "load", "reason": answer.reason}
    return told | {"decision": "transform", "reason": f"{answer.estimate}: transforming is estimated to be faster"}


def _prove(source: Outline, target: Outline, steps: tuple[Step, ...], before: Package, after: Package) -> None:
    plan = Plan(source.digest, target.digest, source.graph_digest, target.graph_digest, steps, Estimate(0, 0))
    if replay.replay(plan, before.graph) != after.graph:
        raise PlanError(f"the plan from {source.digest[:16]}… does not arrive at {target.digest[:16]}…: load instead")


def _package(path: Path) -> Package:
    """The package in a folder, or the one in an action's archive. Raises `PackageError` that names the path."""
    try:
        return package.decode(_model_json(path))
    except OSError as error:
        raise PackageError(f"{path} cannot be read ({error.strerror}); name a package's folder or a zip") from error
    except InstarError as error:
        raise PackageError(f"{path}: {error}") from error


def _model_json(path: Path) -> bytes:
    if path.is_dir():
        return package.read(path)
    code = path.read_bytes()
    with tempfile.TemporaryDirectory(prefix="instar-plan-") as folder:
        archive.unpack(code, Path(folder) / "code")
        found = packages.find(Path(folder) / "code")
        if len(found) != 1:
            names = ", ".join(name for name, _ in found) or "none"
            raise PackageError(f"it has {len(found)} model packages ({names}), not one; unpack it and name a folder")
        return package.read(Path(found[0][1]))


def _costs(named: Path | None) -> Costs | None:
    if named is None:
        known = profiles.find(profiles.folder(os.environ), profiles.device_kind())
        return None if known is None else known.costs
    try:
        return profiles.read(named).costs
    except FileNotFoundError as error:
        raise PlanError(f"--costs {named}: there is no such file; `instar profile` makes one") from error


def _model(outline: Outline) -> dict[str, Any]:
    return {
        "model": outline.digest,
        "graph": outline.graph_digest,
        "operators": len(outline.operators),
        "weights": outline.views,
        "bytes": outline.nbytes,
    }


def _kind(step: Step) -> str:
    return type(step).__name__.lower()


def _kinds(steps: tuple[Step, ...]) -> dict[str, int]:
    return dict(Counter(map(_kind, steps)))


def _by_operator(steps: tuple[Step, ...]) -> dict[str, dict[str, int]]:
    """For each operator how many of it are replaced, reshaped, added and removed."""
    found: dict[str, Counter[str]] = {}
    for step in steps:
        if not isinstance(step, Edge):
            found.setdefault(step.operator, Counter())[_kind(step)] += 1
    return {operator: dict(counts) for operator, counts in sorted(found.items())}


def _parts(costs: Costs, work: Amounts) -> dict[str, float]:
    """What an estimate is the sum of, in milliseconds, the largest part first."""
    parts = {name: costs.rate_ns(name) * amount / 1e6 for name, amount in work.items()}
    return {name: ms for name, ms in sorted(parts.items(), key=lambda part: -part[1]) if ms > 0}


def _show(told: dict[str, Any]) -> None:
    for end in ("source", "target"):
        of = told[end]
        print(f"{end}      {of['model'][:16]}  {of['operators']} operators, {of['weights']} weights, {of['bytes']} B")
    print(f"steps       {', '.join(f'{count} {kind}' for kind, count in told['steps'].items()) or 'none'}")
    for operator, counts in told["operators"].items():
        print(f"  {', '.join(f'{count} {kind}' for kind, count in counts.items()):32}  {operator}")
    print(f"weights     {told['views']['kept']} stay where they look, {told['views']['new']} get a new view")
    print(f"bytes       {told['bytes']['kept']} hold what they held, {told['bytes']['moved']} another content")
    print("proof       carried out on the source's graph, the plan gives exactly the target's")
    if told["estimate"] is None:
        print(told["reason"])
        return
    print(f"device      {told['estimate']['device']}")
    for way in ("transform", "load"):
        parts = ", ".join(f"{name} {ms:.3f}" for name, ms in told["estimate"][way].items())
        print(f"{way:11} {told['estimate'][f'{way}_ms']:.3f} ms: {parts}")
    print(f"decision    {told['decision']}: {told['reason']}")
