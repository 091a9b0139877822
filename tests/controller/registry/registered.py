"""Models to register, and what a test looks at: the entries on disk, and a process caught while it plans."""

from __future__ import annotations

import contextlib
import itertools
import multiprocessing
import os
import random
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.plan.strategies import PLAUSIBLE, network

from instar.package import Package
from instar.plan import plans, replay
from instar.plan.costs import Costs
from instar.plan.outline import outline
from instar.plan.plans import LoadInstead
from instar_controller.clients.plans import KeptPlan, PlanRepository
from instar_controller.engines.registry import Registry

WAIT_S = 60.0  # for anything that is sure to happen
# With these a plan is always made, and which of two is the better one depends on both models.
CHEAP = Costs("cheap", {**PLAUSIBLE.rates_ns, "transform": 0.0, "load": 1e9})


def models(count: int) -> list[Package]:
    """Networks of a family, the same ones every time."""
    rng = random.Random(11)
    return [network(rng) for _ in range(count)]


def register(registry: Registry, packages: Sequence[Package]) -> list[str]:
    """Their digests, when everything is planned."""
    digests = [registry.register(f"model {n}", package) for n, package in enumerate(packages)]
    assert registry.wait(WAIT_S)
    return digests


def check_every_pair(registry: Registry, repository: PlanRepository, packages: Sequence[Package]) -> tuple[int, int]:
    """Each pair, those of a model with itself too, has a plan that arrives at the target's very graph, or the word to
    load. How many have which."""
    planned = instead = 0
    for source, target in itertools.product(packages, repeat=2):
        answer = repository.find(source.digest, target.digest, registry.costs_key)
        assert registry.answer_for(source.digest, target.digest) == answer
        if isinstance(answer, LoadInstead):
            assert (answer.source, answer.target) == (source.digest, target.digest)
            assert answer.estimate.transform_ns >= answer.estimate.load_ns
            instead += 1
            continue
        assert isinstance(answer, KeptPlan)
        plan = plans.decode(answer.encoded())
        assert (plan.source, plan.target) == (source.digest, target.digest)
        assert plan.estimate == answer.estimate
        assert replay.arrives(plan, outline(source), outline(target))
        assert replay.replay(plan, source.graph) == target.graph
        planned += 1
    return planned, instead


def entries(repository: PlanRepository) -> dict[Path, int]:
    """Every file of the repository, and when it was written."""
    return {p: p.stat().st_mtime_ns for p in repository.root.rglob("*") if p.is_file()}


def pair_file(repository: PlanRepository, registry: Registry, source: str, target: str) -> Path:
    return repository.root / "plans" / registry.costs_key / source / target


@contextlib.contextmanager
def caught_planning(registry: Registry, repository: PlanRepository, last: Package, name: str) -> Iterator[int]:
    """The process that plans for a model, by its id, as it reads an earlier one and cannot go on.

    What it reads is a pipe, and opening that for writing returns when it has begun to. The file is back in its place
    then, and in the end the pipe is closed with nothing in it: to a process that still reads it the model is damaged.
    """
    # One that is just being ended may still take this on, and it remembers the models that it has read.
    deadline_s = time.monotonic() + WAIT_S
    while multiprocessing.active_children():
        assert time.monotonic() < deadline_s, "a process does not end that has nothing to plan"
        time.sleep(0.001)
    path = next(iter((repository.root / "models").iterdir()))
    aside = path.with_name("aside")
    path.rename(aside)
    os.mkfifo(path)
    registry.register(name, last)
    with path.open("wb"):
        aside.replace(path)
        (process,) = multiprocessing.active_children()
        assert process.pid is not None
        yield process.pid
