"""Which transformations and loads are measured to know a device, and what is learned of them.

The rule: the estimates are for models that nobody has measured, so the error that counts is that for networks which
the fit has not seen: each network is left out once, as what others become, and what was learned of all the others is
held against it.

Pairs are of every kind: other weights in the same structure, a structure that differs in a kind of operator only,
deeper, wider, larger and smaller ones, and strangers. They take turns, so that a disturbance falls upon all of them.
"""

from __future__ import annotations

import dataclasses
import gc
import itertools
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from instar import profiles
from instar.executor.profiling import architectures, measuring, subjects
from instar.executor.profiling.architectures import Architecture
from instar.executor.profiling.subjects import Subject
from instar.graph.ir import Graph
from instar.plan import costs as amounts
from instar.plan import fit, planner
from instar.plan.costs import Amounts, Costs
from instar.plan.fit import Sample
from instar.profiles import Profile
from instar.weights.fetch import Fetcher
from instar.weights.store import Store

SEED = 20
LEAST_ROUNDS = 3
LARGEST_SHARE = 16  # no network takes more than this part of the machine's memory
OTHER = {"aten.relu.default": "aten.silu.default", "aten.gelu.default": "aten.relu.default"}

Pair = tuple[Subject, Subject]
Report = Callable[[int, int], object]  # how many measurements were taken, of how many


@dataclass(frozen=True, slots=True)
class Network:
    """One architecture in one size, as how many subjects: itself, with other weights, with another activation."""

    architecture: Architecture
    depth: int
    width: int
    variants: str = ""  # "w" other weights, "a" another activation

    @property
    def name(self) -> str:
        return f"{self.architecture.__name__}-{self.depth}-{self.width}"


@dataclass(frozen=True, slots=True)
class Survey:
    """What to measure: between which networks, how many of the pairs of strangers, how often, and for how long.

    No round begins that is likely to end after `budget_s` seconds, but for the first `LEAST_ROUNDS`.
    """

    networks: tuple[Network, ...]
    strangers: int
    rounds: int
    budget_s: float


THOROUGH = Survey(
    (
        Network(architectures.plain, 2, 100, "w"),
        Network(architectures.plain, 16, 700),
        Network(architectures.plain, 4, 3072),
        Network(architectures.plain, 4, 6144, "w"),
        Network(architectures.residual, 4, 32),
        Network(architectures.residual, 16, 128, "wa"),
        Network(architectures.residual, 48, 32, "w"),
        Network(architectures.mobile, 6, 24),
        Network(architectures.mobile, 17, 48, "w"),
        Network(architectures.concatenated, 20, 12),
        Network(architectures.concatenated, 58, 32, "w"),
        Network(architectures.encoder, 2, 128, "a"),
        Network(architectures.encoder, 12, 512, "w"),
        Network(architectures.encoder, 30, 128, "w"),
    ),
    strangers=100,
    rounds=7,
    budget_s=40.0,
)
QUICK = Survey(
    (
        Network(architectures.plain, 2, 100, "w"),
        Network(architectures.plain, 4, 3072),
        Network(architectures.residual, 8, 32, "wa"),
        Network(architectures.residual, 32, 32),
        Network(architectures.mobile, 17, 48, "w"),
        Network(architectures.concatenated, 30, 12),
        Network(architectures.encoder, 4, 256, "w"),
    ),
    strangers=42,
    rounds=3,
    budget_s=8.0,
)


@dataclass(frozen=True, slots=True)
class Measured:
    """What it took to make one subject of another: medians, in nanoseconds."""

    source: Subject
    target: Subject
    transform_ns: float
    load_ns: float

    def samples(self) -> tuple[Sample, Sample]:
        """Both as the fit wants them: only amounts of work that takes time."""
        before, after = self.source.outline, self.target.outline
        steps = planner.steps(before, after, Costs("any", {}))
        return (
            Sample(_work(amounts.of_transformation(before, after, steps)), self.transform_ns),
            Sample(_work(amounts.of_load(before, after)), self.load_ns),
        )


def profile(survey: Survey, folder: Path, report: Report = lambda done, count: None) -> Profile:
    """Measure in a folder, which is left as it is found but for what has been made in it, and learn from it.

    Raises `PlanError` if it cannot be measured, `OSError` if there is no space.
    """
    store = Store(folder / "store")
    found = prepare(survey, folder, store)
    fetcher, threads = Fetcher(store), torch.get_num_threads()
    # Models are run to have read their weights, which is not timed. Several threads wait for each other at every
    # operator, and on a busy machine that is what most of the time would go to.
    torch.set_num_threads(1)
    try:
        measured = measure(pairs(found, survey), survey, fetcher, report)
    finally:
        torch.set_num_threads(threads)
        fetcher.close()
    return learn(measured)


def learn(measured: Sequence[Measured]) -> Profile:
    """The costs that explain measurements best, and how far they are from the truth."""
    both = [one.samples() for one in measured]
    samples = [sample for each in both for sample in each]
    groups = [one.target.name.rstrip("'~") for one, each in zip(measured, both, strict=True) for _ in each]
    fitted = fit.fit(samples, device=profiles.device_kind())
    now = time.strftime("%Y-%m-%d %H:%M", time.gmtime())
    return Profile(
        costs=fitted.costs,
        error=fitted.error,
        held_out=fit.hold_out(samples, groups),
        measured_on=f"{platform.platform()}, {os.cpu_count()} processors, {now} UTC, {len(measured)} pairs",
    )


def prepare(survey: Survey, folder: Path, store: Store) -> dict[str, Subject]:
    """The subjects of a survey by name, those left out that are too large for this machine."""
    limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // LARGEST_SHARE
    found = {}
    for network in survey.networks:
        graph = network.architecture(network.depth, network.width)
        if architectures.nbytes(graph) > limit:
            continue
        kinds = {"": graph}
        if "w" in network.variants:
            kinds["'"] = graph
        if "a" in network.variants:
            kinds["~"] = _other(graph)
        for seed, (mark, kind) in enumerate(kinds.items()):
            name = network.name + mark
            found[name] = subjects.make(name, kind, folder / name, store, seed=seed)
    return found


def pairs(found: dict[str, Subject], survey: Survey) -> list[Pair]:
    """Each network and its own variants, both ways, and some of the pairs of strangers: the same ones each time."""
    plain = [name for name in found if name[-1] not in "'~"]
    strangers = list(itertools.permutations(plain, 2))
    random.Random(SEED).shuffle(strangers)
    kin = [(name, name + mark) for name in plain for mark in "'~" if name + mark in found]
    chosen = kin + [(b, a) for a, b in kin] + strangers[: survey.strangers]
    return [(found[a], found[b]) for a, b in chosen]


def measure(wanted: Sequence[Pair], survey: Survey, fetcher: Fetcher, report: Report) -> list[Measured]:
    """Measure all pairs, each both ways in turn, as often as the survey says. Raises `PlanError`."""
    times: dict[Pair, tuple[list[int], list[int]]] = {pair: ([], []) for pair in wanted}
    rng = random.Random(SEED)
    for subject in dict.fromkeys(itertools.chain(*wanted)):  # whatever happens once happens now: compiling, above all
        measuring.load_ns(subject, subject, fetcher)
    gc.collect()
    gc.freeze()
    try:
        done, count, began = 0, survey.rounds * len(wanted), time.monotonic()
        for number in range(survey.rounds):
            spent_s = time.monotonic() - began
            if number >= LEAST_ROUNDS and spent_s * (number + 1) / number > survey.budget_s:
                break
            for pair in rng.sample(wanted, len(wanted)):
                transformed, loaded = times[pair]
                transformed.append(measuring.transformation_ns(*pair, fetcher))
                loaded.append(measuring.load_ns(*pair, fetcher))
                done += 1
                report(done, count)
    finally:
        gc.unfreeze()
    return [Measured(*pair, statistics.median(a), statistics.median(b)) for pair, (a, b) in times.items()]


def _other(graph: Graph) -> Graph:
    """The same network with another activation, which no weight notices."""
    return dataclasses.replace(
        graph, nodes=tuple(dataclasses.replace(node, op=OTHER.get(node.op, node.op)) for node in graph.nodes)
    )


def _work(of: Amounts) -> Amounts:
    return {name: amount for name, amount in of.items() if name in amounts.WORK}
