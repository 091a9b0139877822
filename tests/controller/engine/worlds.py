"""Containers and jobs for the tests of the policies, with every field that a test does not care about
filled in."""

from __future__ import annotations

import itertools
import json
import zlib

from instar_controller.policies.estimates import PlanOffer
from instar_controller.policies.lifecycle import State
from instar_controller.policies.snapshot import Container, ContainerId, Job
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.values import Json

_ids = itertools.count()


def function(
    name: str = "f", *, namespace: str = "guest", revision: int = 1, environment: tuple[tuple[str, str], ...] = ()
) -> ContainerKey:
    return ContainerKey(namespace, f"guest/{name}", revision, environment)


def job(
    name: str = "f",
    *,
    kind: str = "python:3",
    memory_mb: int = 256,
    namespace: str = "guest",
    shares: bool = True,
) -> Job:
    return Job(key=function(name, namespace=namespace), kind=kind, memory_mb=memory_mb, shares=shares)


def offer(plan: Json, *, transform_ms: float = 5, load_ms: float = 25) -> PlanOffer:
    """Of a plan in whatever form the containers of a test understand."""
    return PlanOffer(zlib.compress(json.dumps(plan).encode()), transform_ms, load_ms)


def container(
    serves: ContainerKey | None = None,
    *,
    state: State = State.READY,
    kind: str = "python:3",
    memory_mb: int = 256,
    last_used_s: float = 0.0,
    id: str | None = None,
    shares: bool = True,
) -> Container:
    return Container(
        id=ContainerId(id or f"c{next(_ids)}"),
        kind=kind,
        memory_mb=memory_mb,
        state=state,
        key=serves,
        last_used_s=last_used_s,
        shares=shares,
    )
