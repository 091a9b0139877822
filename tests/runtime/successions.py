"""Containers that become another function, and what it takes to ask them for it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

import instar
from instar import package
from instar.plan import outline, planner, plans
from instar.plan.costs import Costs
from tests.runtime.containers import Container, Exchange, zipped
from tests.runtime.modules import Deep, Net

TOKEN = "a token of this container's"
GIVEN = {"INSTAR_TOKEN": TOKEN}
MARK = "----8<----"
OWNED = {"__OW_NAMESPACE": "guest", "__OW_ACTION_NAME": "/guest/act"}
ELSEWHERE = {"__OW_NAMESPACE": "other", "__OW_ACTION_NAME": "/other/act"}

# Calls its models with inputs made of a seed, evaluates what the caller wants to know, and says who it is.
HANDLER = """
import os, sys, threading, torch, instar
print({name!r}, 'is imported')
print({name!r}, 'is imported', file=sys.stderr)
def main(args):
    if 'do' in args:
        return {{'value': eval(args['do'], globals())}}
    model = instar.model(args.get('model'))
    generator = torch.Generator().manual_seed(args.get('seed', 1))
    inputs = [
        torch.randn([size if isinstance(size, int) else 2 for size in port.type.shape], generator=generator)
        for port in model.signature.inputs
    ]
    return {{'values': model(*inputs).flatten().tolist()}}
"""


def value(code: bytes | str, environ: Mapping[str, str]) -> dict[str, Any]:
    """What `/init` is told of a function."""
    text = base64.b64encode(code).decode() if isinstance(code, bytes) else code
    return {"name": "act", "main": "main", "binary": isinstance(code, bytes), "code": text, "env": dict(environ)}


def become(
    container: Container,
    code: bytes | str,
    plan: bytes | None,
    *,
    environ: Mapping[str, str] = OWNED,
    token: str | None = TOKEN,
    mark: str = MARK,
) -> Exchange:
    """`/transform` with this function and plan."""
    document = {"value": value(code, environ), "plan": None if plan is None else json.loads(plan), "mark": mark}
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return container.send("POST", "/transform", json.dumps(document).encode(), headers=headers)


def plan_between(source: Path, target: Path) -> bytes:
    """The plan from one package to another, however dear."""
    before, after = (outline.outline(package.decode(package.read(folder))) for folder in (source, target))
    steps = planner.steps(before, after, Costs("test", {}))
    ends = before.digest, after.digest, before.graph_digest, after.graph_digest
    return plans.encode(plans.Plan(*ends, steps, plans.Estimate(1, 2)))


def archive(name: str, *folders: Path) -> bytes:
    """The code of a function of this name with these packages."""
    packages = {f"{folder.name}/{path.name}": path.read_bytes() for folder in folders for path in folder.iterdir()}
    return zipped({"__main__.py": HANDLER.format(name=name), **packages})


def start(container: Container, code: bytes | str, environ: Mapping[str, str] = OWNED) -> None:
    """`/init` with this function, which must succeed."""
    answer = container.post("/init", {"value": value(code, environ)})
    assert answer.status == 200, answer


def how(answer: Exchange) -> tuple[str, str | None]:
    """How a new function came to its model, and to which."""
    assert answer.status == 200 and answer.json["ok"] is True, answer
    told = answer.json["instar"]
    return told["how"], told["model"]


def pack(folder: Path) -> dict[str, Packed]:
    """Three packages: `one` and `two` have an equal layout and other weights, `three` has another structure."""
    found = {}
    for name, build, shape in (("one", Net, (3, 16, 16)), ("two", Net, (3, 16, 16)), ("three", Deep, (512,))):
        torch.manual_seed(sum(name.encode()))
        module = build().eval()
        instar.pack(module, {"x": torch.zeros(2, *shape)}, folder / name, dims={"x": {0: "n"}}, bounds={"n": (1, 99)})
        found[name] = Packed(folder / name, module, shape)
    return found


@dataclass(frozen=True, slots=True)
class Packed:
    folder: Path
    module: torch.nn.Module
    shape: tuple[int, ...]

    def answered(self, answer: Exchange, seed: int = 1) -> bool:
        """Whether this is, bit by bit, what the module answers to the handler's input."""
        x = torch.randn([2, *self.shape], generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            return torch.equal(values(answer), self.module(x).flatten())


def values(answer: Exchange) -> torch.Tensor:
    """What the handler's model has answered."""
    assert answer.status == 200 and "values" in answer.json, answer
    return torch.tensor(answer.json["values"])
