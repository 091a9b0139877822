"""How long an idle container's model takes to become another one, and to answer as that: Instar beside four others.

The models: the nine of the loading benchmark, each made of a sibling with equal structure and other weights (*same*)
and of each other; and each of its *family*, which for some has further members. `transform_models.py` lists them,
`transform_subjects.py` says what the ways are that take turns, model by model. For each pair both ways are measured,
to transform and to load instead; what counts is the way that the planner decides for, by costs that `instar profile`
measured on this kind of device without ever having seen these models. If there are none it measures them first.

The rule: an answer that is not a fresh load's, bit by bit, is counted as such; one that is not even close stops the
benchmark. Medians of a pair's rounds, then:

    same_bind_ms_max               the largest, over the nine: from the structure, read and checked, to a bound model
    same_first_answer_over_warm    geometric mean: everything, structure included, to the end of the first answer,
                                   over a warm pass of the same live model (the median of three right after it)
    same_load_below_b0, …_b1       one less the geometric mean of: structure and bind, over all that B0 and B1 do
                                   before they run their module
    family_bind_ms                 the median over the pairs of a family, with the quartiles over these pairs
    family_first_answer_over_warm  as above
    worst_over_scratch             the largest, over all timed pairs: structure and bind, over the same container
                                   letting go of its model and loading. 1 by definition where that was decided for
    plan_over_optimal              the largest, over all timed pairs: what a plan costs, over an optimal assignment
    plan_us_per_operator           the median over the pairs; operators of both models count
    estimate_within_30             the share of timed pairs for which the plan's estimate of structure and bind, in
                                   the way decided for, is at most 30% off
    pairs, pairs_bit_equal         ordered pairs that were transformed, timed ones and small ones

Plans are proven before anything is touched; what that takes is in a table, and in no figure.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from instar.executor import transform
from instar.plan import planner, replay
from instar.plan.costs import Costs
from instar.plan.plans import Plan
from instar.profiles import Profile
from instar.proxy import zygote
from tests.bench import figures, timing, transform_costs, transform_models
from tests.bench.transform_figures import (
    ACROSS,
    FAMILY,
    LOAD,
    SAME,
    TARGETS,
    TRANSFORM,
    Pair,
    Planned,
    Taken,
    below,
    of_kinship,
    over_models,
    share,
    worst,
)
from tests.bench.transform_kept import Packed, packed
from tests.bench.transform_models import Selection
from tests.bench.transform_subjects import REFERENCES, SCRATCH, WARM, Target
from tests.plan import optimal

FIGURES = tuple(TARGETS)
ROUNDS, QUICK_ROUNDS = 7, 3
PLANNED = 7  # times that each plan is made
SHOWN = 8  # of the pairs across families, the worst


@dataclass(slots=True)
class Found:
    """What was measured so far. `main` owns it."""

    pairs: list[Pair]
    references: dict[str, list[dict[str, Taken]]]  # of each target, a dict a round
    planned: dict[str, tuple[Planned, float]]  # by the name of a pair, and µs to prove it
    small: list[bool]  # whether each small pair answered as a fresh load


def main() -> None:
    settings = figures.Settings.of(os.environ)
    selection = transform_models.FEW if settings.quick else transform_models.ALL
    rounds = QUICK_ROUNDS if settings.quick else ROUNDS
    with figures.reporting(FIGURES, settings) as report, timing.folder() as folder:
        profile = transform_costs.profile_of_this_device(os.environ)
        costs = profile.costs
        found = Found([], {}, {}, [])
        with (
            figures.progress(len(selection.timed) + 2, "models") as bar,
            packed(selection.models(), folder / "store", bar.set_description) as models,
        ):
            report.row(kind="machine", moment="begin", load_average=os.getloadavg()[0])
            for name in selection.timed:
                bar.set_description(name)
                measure(name, selection, models, costs, rounds, folder, report, found)
                bar.update()
            report.row(kind="machine", moment="end", load_average=os.getloadavg()[0])
            bar.set_description("plans")
            plan(found, models, costs, report)
            bar.update()
            bar.set_description("small models")
            small([models[name] for name in selection.small], report, found)
            bar.update()
        state(report, found, profile)


def measure(
    name: str,
    selection: Selection,
    models: dict[str, Packed],
    costs: Costs,
    rounds: int,
    folder: Path,
    report: figures.Report,
    found: Found,
) -> None:
    """All that is timed of one target: the references and both ways from each source take turns."""
    own = folder / name
    own.mkdir()
    target = Target(models[name], own)
    sources = selection.sources(name)
    kinds: list[tuple[str, str | None]] = [(reference, None) for reference in REFERENCES]
    kinds += [(way, source) for source, _ in sources for way in (TRANSFORM, LOAD)]
    decided = {source: decide(models[source], models[name], costs) for source, _ in sources}
    is_warm_wanted = {source: kind != ACROSS for source, kind in sources}
    taken: list[dict[tuple[str, str | None], Taken]] = [{} for _ in range(rounds)]

    def take(kind: tuple[str, str | None]) -> Taken:
        way, source = kind
        if source is None:
            return target.reference(way)
        is_wanted = is_warm_wanted[source] and way == decided[source][0]
        return target.way(way, models[source], is_warm_wanted=is_wanted)

    for kind in kinds:  # what comes first warms everything up
        take(kind)
    with timing.libraries_settled():
        for turn, kind in figures.interleaved(kinds, rounds):
            taken[turn][kind] = one = take(kind)
            report.row(
                kind="taken",
                target=name,
                round=turn,
                way=kind[0],
                source=kind[1],
                **{field: getattr(one, field) for field in Taken.__slots__},
            )
    found.references[name] = [{way: turn[way, None] for way in REFERENCES} for turn in taken]
    for source, kinship in sources:
        way, estimate_ms = decided[source]
        own_rounds = tuple(
            {**found.references[name][turn], **{each: taken[turn][each, source] for each in (TRANSFORM, LOAD)}}
            for turn in range(rounds)
        )
        found.pairs.append(Pair(source, name, kinship, way, estimate_ms, own_rounds))
        report.row(kind="pair", source=source, target=name, kinship=kinship, decided=way, estimate_ms=estimate_ms)
    shutil.rmtree(own)


def decide(source: Packed, target: Packed, costs: Costs) -> tuple[str, dict[str, float]]:
    """The way that the planner chooses, and its estimates of both in ms."""
    decision = planner.plan(source.outline, target.outline, costs)
    estimate = decision.estimate
    way = TRANSFORM if isinstance(decision, Plan) else LOAD
    return way, {TRANSFORM: estimate.transform_ns / 1e6, LOAD: estimate.load_ns / 1e6}


def plan(found: Found, models: dict[str, Packed], costs: Costs, report: figures.Report) -> None:
    """How long it takes to plan each pair and to prove the plan, and how far it is from optimal."""
    with timing.libraries_settled():
        for pair in found.pairs:
            source, target = models[pair.source].outline, models[pair.target].outline
            times_us = []
            with timing.no_collection():
                for _ in range(PLANNED):
                    start = time.perf_counter()
                    decision = planner.plan(source, target, costs)
                    times_us.append(timing.ms(start, time.perf_counter()) * 1000)
                steps = planner.steps(source, target, costs)
                made = Plan(
                    source.digest, target.digest, source.graph_digest, target.graph_digest, steps, decision.estimate
                )
                start = time.perf_counter()
                if not replay.arrives(made, source, target):
                    raise AssertionError(f"the plan for {pair.name} does not arrive")
                proven_us = timing.ms(start, time.perf_counter()) * 1000
            least_ns, cost_ns = (of(source, target, costs) for of in (optimal.cost_ns, optimal.linear_ns))
            planned = Planned(
                operators=len(source.operators) + len(target.operators),
                plan_us=figures.quartiles(times_us),
                over_optimal=cost_ns / least_ns if least_ns else 1.0,
            )
            found.planned[pair.name] = planned, proven_us
            report.row(
                kind="plan",
                source=pair.source,
                target=pair.target,
                operators=planned.operators,
                plan_us=times_us,
                proven_us=proven_us,
                over_optimal=planned.over_optimal,
            )


def small(models: Sequence[Packed], report: figures.Report, found: Found) -> None:
    """Each small model becomes each other one, and answers."""
    expected = {target.name: target.answers() for target in models}
    for source in models:
        for target in models:
            if source is target:
                continue
            live = source.idle()
            transform.into(live, target.folder, fetcher=target.fetcher)
            answers = live.run(target.inputs)
            live.close()
            is_equal = all(map(torch.equal, answers, expected[target.name]))
            found.small.append(is_equal)
            if not is_equal:
                report.row(kind="small pair that differs", source=source.name, target=target.name)


def state(report: figures.Report, found: Found, profile: Profile) -> None:
    pairs, planned = found.pairs, [each for each, _ in found.planned.values()]
    same, family = (of_kinship(pairs, kind) for kind in (SAME, FAMILY))
    report.place("same_bind_ms_max", worst(pair.bind_ms() for pair in same))
    report.place("same_first_answer_over_warm", over_models([pair.over_warm() for pair in same]))
    report.place("same_load_below_b0", below(over_models([pair.load_over("b0") for pair in same])))
    report.place("same_load_below_b1", below(over_models([pair.load_over("b1") for pair in same])))
    report.measure("family_bind_ms", [pair.bind_ms()[1] for pair in family])
    report.place("family_first_answer_over_warm", over_models([pair.over_warm() for pair in family]))
    report.place("worst_over_scratch", worst(pair.load_over(LOAD) for pair in pairs))
    report.state("plan_over_optimal", max(each.over_optimal for each in planned))
    report.measure("plan_us_per_operator", [each.us_per_operator for each in planned])
    report.state("estimate_within_30", share(pair.is_estimated(pair.decided) for pair in pairs))
    equal = [*(pair.is_equal for pair in pairs), *found.small]
    report.state("pairs", len(equal))
    report.state("pairs_bit_equal", sum(equal))
    report.say(_targets(found))
    report.say(_pairs("same structure", same))
    report.say(_pairs("same family", family))
    across = sorted(of_kinship(pairs, ACROSS), key=lambda pair: pair.load_over(LOAD)[1], reverse=True)
    report.say(_loads(f"across families, the worst {min(SHOWN, len(across))} of {len(across)}", across[:SHOWN]))
    report.say(_remarks(found, profile))
    report.say(figures.table(("figure", "measured", "target"), _against_targets(report)))


def _against_targets(report: figures.Report) -> list[tuple[str, float, str]]:
    return [(name, report.figures[name], target) for name, target in TARGETS.items()]


def _targets(found: Found) -> str:
    rows = []
    for name, turns in found.references.items():
        loads = (_median([turn[way].bound_ms for turn in turns]) for way in REFERENCES if way != WARM)
        firsts = (_median([turn[way].first_ms for turn in turns]) for way in REFERENCES)
        equal = ("yes" if all(turn[way].is_equal for turn in turns) else "no" for way in REFERENCES)
        rows.append((name, *loads, *firsts, *equal))
    return figures.table(
        (
            *("without another model, ms", "load B0", "B1", "B2", "Instar"),
            *("first answer warm", "B0", "B1", "B2", "Instar"),
            *("equal warm", "B0", "B1", "B2", "Instar"),
        ),
        rows,
    )


def _pairs(title: str, pairs: Sequence[Pair]) -> str:
    header = (title, "way", "structure, ms", "bind, ms", "estimate", "measured", "first over warm")
    rows = [
        (
            pair.name,
            pair.decided,
            pair.structure_ms()[1],
            pair.bind_ms()[1],
            pair.estimate_ms[pair.decided],
            pair.bound_ms(pair.decided)[1],
            pair.over_warm()[1],
            *(pair.load_over(way)[1] for way in ("b0", "b1", "b2", SCRATCH, LOAD)),
        )
        for pair in pairs
    ]
    return figures.table((*header, "load over B0", "B1", "B2", "scratch", "letting go and loading"), rows)


def _loads(title: str, pairs: Sequence[Pair]) -> str:
    rows = [
        (
            pair.name,
            pair.decided,
            *(ms for way in (TRANSFORM, LOAD) for ms in (pair.estimate_ms[way], pair.bound_ms(way)[1])),
            pair.load_over(LOAD)[1],
            pair.load_over(SCRATCH)[1],
        )
        for pair in pairs
    ]
    header = (
        "way",
        "transform estimate, ms",
        "measured",
        "load estimate",
        "measured",
        "decided over load",
        "scratch",
    )
    return figures.table((title, *header), rows)


def _remarks(found: Found, profile: Profile) -> str:
    pairs = found.pairs
    loaded = [pair for pair in pairs if pair.decided == LOAD]
    wrong = [pair for pair in pairs if not pair.is_decided_right]
    within = (f"{share(pair.is_estimated(way) for pair in pairs):.0%} to {way}" for way in (TRANSFORM, LOAD))
    rates = [planned.us_per_operator for planned, _ in found.planned.values()]
    proofs = [proven_us for _, proven_us in found.planned.values()]
    return "\n".join(
        (
            f"costs: {profile.costs.device}, {profile.measured_on}",
            f"costs held against what the fit has not seen: {profile.held_out}",
            f"of {len(pairs)} timed pairs {len(loaded)} are loaded instead; in {len(wrong)} the other way took less",
            f"estimates within 30%, of both ways: {', '.join(within)}",
            f"planning an operator: {max(rates):.2f} µs in the worst pair; proving a plan: {_median(proofs):.0f} µs, "
            f"at most {max(proofs):.0f}",
            f"worst over an executor that holds nothing: {worst(p.load_over(SCRATCH) for p in pairs)[1]:.3f}",
        )
    )


def _median(values: Sequence[float]) -> float:
    return figures.quartiles(values)[1]


def as_executor() -> None:
    """Begin again in the environment of the process that runs models, which torch reads when it is imported."""
    environ = zygote.environment(os.environ)
    if environ != dict(os.environ):
        os.execve(sys.executable, [sys.executable, "-m", "tests.bench.bench_transform"], environ)


if __name__ == "__main__":
    as_executor()
    main()
