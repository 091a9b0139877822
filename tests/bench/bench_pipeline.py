"""How long a first answer takes whose weights are not on the node yet, or not in memory: Instar beside four others.

    ordinary   B0: download, build with default initialisation, `torch.load`, `load_state_dict`, answer
    pisel      PISeL: a pipeline of partitions over a module with default initialisation
    assigned   B1: download, build on the meta device, safetensors, `load_state_dict(assign=True)`, answer
    cicada     Cicada as published: placeholders, decoupled weights, priority, on a module
    instar     the package, answering while the weights arrive in the node's store, each chunk verified

The rule: all have the same source, models and machine, take turns in one run, and give the module's answer, Instar
bit by bit. The source is an HTTP server on loopback with 100, 400 and 1,500 MB/s for all its connections together;
"disk" are files of this machine whose pages were dropped from the page cache, which is checked. Of all systems only
Instar holds what it reads against digests, and only Instar keeps it. All run in the environment of the executor, in
which torch's idle threads leave the processors to others (`proxy/zygote.py`): that helps every pipeline.

The *limit* is `max(bytes / bandwidth, warm pass of the module)`. Slow cells are measured less often.

`bottleneck_occupancy` is the busy time of the busiest stage of Instar's pipeline over the time to the first answer:
link (bytes over its bandwidth), digest, write, or run (all of the run but its waits). `peak_over_weights` is the
peak of the resident set during a load less 64 MiB, over the weights (`peak.py` says what is counted); measured in
rounds of their own. `without_…` take one part of Instar's pipeline away, at 1,500 MB/s (`pipeline_parts.py`).
`waiting_slowdown` is a request beside a prefetch, over the same alone, at 400 MB/s.

The timeline of one load is drawn to `build/bench/pipeline.png`.
"""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from instar.proxy import zygote
from tests.bench import figures, peak, pipeline_parts, plot, residency, throttled, timeline, timing
from tests.bench.pipeline_figures import (
    Cell,
    Quartiles,
    Round,
    arithmetic,
    geometric,
    largest,
    least,
    peak_over_weights,
    rounds_of,
)
from tests.bench.pipeline_parts import Raced
from tests.bench.pipeline_subjects import BASELINES, OURS, SYSTEMS, First, Link, Subject, packed
from tests.models import zoo

if TYPE_CHECKING:
    from tqdm import tqdm

FIGURES = (
    "first_answer_over_limit",
    "first_answer_over_limit_worst",
    "below_pisel_1500",
    "below_best_baseline_min",
    "bottleneck_occupancy",
    "peak_over_weights",
    "waiting_slowdown",
    "free_over_gated_warm",
    *(f"without_{part}" for part in pipeline_parts.ABLATIONS),
    "without_priority",
)
DISK = Link("disk", None)
FREE = Link("free", 1e12)  # what everything is done with once before it is measured
FAST = Link("1500", 1500e6)
RACED = Link("400", 400e6)
LINKS = (Link("100", 100e6), RACED, FAST, DISK)
WATCHED = (RACED, FAST)
PICTURE = Path("build/bench/pipeline.png")


def large_bert() -> Any:
    return zoo.bert(hidden_size=1024, num_hidden_layers=24, num_attention_heads=16, intermediate_size=4096)


MODELS = (*zoo.LARGE, zoo.text("bert-large", large_bert, vocabulary=30000, tokens=64))


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    models: tuple[str, ...]
    rounds: int  # of a cell at most
    budget_s: float  # of a cell
    parts: int  # rounds of the ablation
    races: int
    passes: int  # pairs of warm passes
    watched: str  # whose timeline is drawn
    waiting: str
    other: str


FULL = Sizes(
    models=tuple(model.name for model in MODELS),
    rounds=7,
    budget_s=13,
    parts=3,
    races=7,
    passes=20,
    watched="resnet50",
    waiting="resnet50",
    other="bert-base",
)
QUICK = Sizes(
    models=("mobilenetv2_w1", "densenet121", "resnet18"),
    rounds=2,
    budget_s=60,
    parts=2,
    races=2,
    passes=5,
    watched="resnet18",
    waiting="mobilenetv2_w1",
    other="resnet18",
)


@dataclass(slots=True)
class Found:
    """What was measured so far. `main` owns it."""

    cells: list[Cell]
    peaks: dict[tuple[str, str, str], float]  # of model, link and system -> over the weights
    parts: dict[str, list[Quartiles]]
    gated: list[Quartiles]
    loads: dict[str, tuple[int, list[timeline.Interval]]]


def main() -> None:
    settings = figures.Settings.of(os.environ)
    sizes = QUICK if settings.quick else FULL
    with (
        figures.reporting(FIGURES, settings) as report,
        timing.folder() as folder,
        throttled.serving(folder) as source,
    ):
        links = usable(LINKS, folder, report)
        found = Found([], {}, {part: [] for part in pipeline_parts.ABLATIONS}, [], {})
        models = [model for model in MODELS if model.name in sizes.models]
        report.row(kind="machine", moment="begin", load_average=os.getloadavg()[0])
        with figures.progress(len(models) * (len(links) + 2) + sizes.races, "models") as bar:
            for model in models:
                bar.set_description(f"{model.name}: pack")
                with packed(model, folder, source) as subject:
                    measure(subject, links, sizes, report, found, bar)
            by_name = {model.name: model for model in models}
            with (
                packed(by_name[sizes.waiting], folder, source) as waiting,
                packed(by_name[sizes.other], folder, source) as other,
            ):
                races(waiting, other, sizes.races, report, bar)
        report.row(kind="machine", moment="end", load_average=os.getloadavg()[0])
        plot.draw(PICTURE, found.loads)
        state(report, found)


def usable(links: Sequence[Link], folder: Path, report: figures.Report) -> list[Link]:
    """The links that can be measured here: dropping pages does nothing where a folder lies in memory."""
    probe = folder / "probe"
    probe.write_bytes(bytes(1 << 20))
    try:
        residency.drop(probe)
    except RuntimeError as error:
        report.row(kind="left out", link=DISK.name, why=str(error))
        report.say(f"nothing is measured from the disk: {error}")
        return [link for link in links if link is not DISK]
    return list(links)


def measure(
    subject: Subject, links: Sequence[Link], sizes: Sizes, report: figures.Report, found: Found, bar: tqdm[Any]
) -> None:
    """Everything that is measured of one model."""
    bar.set_description(f"{subject.name}: once each")
    taken_s = {}
    for system in SYSTEMS:
        begin = time.perf_counter()
        subject.first(system, FREE)
        taken_s[system] = time.perf_counter() - begin
    with timing.libraries_settled():
        for link in links:
            bar.set_description(f"{subject.name}: {link.name}")
            rate = link.rate or subject.bandwidth(link)
            cost_s = sum(taken + subject.nbytes / rate for taken in taken_s.values())
            count = rounds_of(cost_s, budget_s=sizes.budget_s, most=sizes.rounds)
            found.cells.append(cell(subject, link, count, report))
            if link in (FAST, DISK):
                peaks(subject, link, report, found)
            bar.update()
        bar.set_description(f"{subject.name}: parts")
        parts(subject, sizes.parts, report, found)
        bar.update()
        ratios = pipeline_parts.free_over_gated(subject, sizes.passes)
        found.gated.append(figures.quartiles(ratios))
        report.row(kind="free over gated", model=subject.name, ratios=ratios)
        if subject.name == sizes.watched:
            for link in WATCHED:
                watch(subject, link, report, found)
        bar.update()


def cell(subject: Subject, link: Link, count: int, report: figures.Report) -> Cell:
    """One model over one link: all systems, a warm pass and the bandwidth take turns."""
    firsts: list[dict[str, First]] = [{} for _ in range(count)]
    warm_ms, rates = [0.0] * count, [0.0] * count
    if link.rate is not None:
        subject.source.set_rate(link.rate)
        subject.source.sent()
    for turn, what in figures.interleaved((*SYSTEMS, "warm", "bandwidth"), count):
        with timing.no_collection():
            if what == "warm":
                answer, warm_ms[turn] = timing.warm(lambda: subject.answer(subject.module))
                subject.check(what, answer)
            elif what == "bandwidth":
                if link.rate is None or turn == 0:
                    rates[turn] = subject.bandwidth(link)
            else:
                firsts[turn][what] = subject.first(what, link)
    rounds = []
    for turn, by_system in enumerate(firsts):
        bandwidth = link.rate or rates[turn]
        bottleneck, occupancy = timeline.bottleneck(
            busy_ms(by_system[OURS], subject.nbytes / bandwidth * 1000), by_system[OURS].ms
        )
        first_ms = {system: first.ms for system, first in by_system.items()}
        rounds.append(Round(first_ms, warm_ms[turn], bandwidth, occupancy, bottleneck))
        report.row(
            kind="first answer",
            model=subject.name,
            bytes=subject.nbytes,
            link=link.name,
            round=turn,
            warm_ms=warm_ms[turn],
            plain_mb_s=(rates[turn] or rates[0]) / 1e6,
            occupancy=occupancy,
            bottleneck=bottleneck,
            waited_ms=by_system[OURS].waited_ms,
            **{f"{system}_ms": ms for system, ms in first_ms.items()},
        )
    return Cell(subject.name, subject.nbytes, link.name, tuple(rounds))


def busy_ms(first: First, link_ms: float) -> dict[str, float]:
    """How long each stage of our pipeline was busy before the answer."""
    busy = {"link": link_ms, "run": first.run_ms - first.waited_ms}
    for stage in ("digest", "write"):
        busy[stage] = timeline.busy_ns(one for one in first.intervals if one.what == stage) / 1e6
    return busy


def peaks(subject: Subject, link: Link, report: figures.Report, found: Found) -> None:
    """What each system takes at its highest; a round of its own, for measuring it costs time."""
    for system in SYSTEMS:
        subject.prepare(system, link)
        with peak.measured() as taken:
            subject.first(system, link)
        over = peak_over_weights(taken.nbytes, subject.nbytes)
        report.row(kind="peak", model=subject.name, link=link.name, system=system, bytes=taken.nbytes, over=over)
        found.peaks[subject.name, link.name, system] = over


def parts(subject: Subject, count: int, report: figures.Report, found: Found) -> None:
    """First answers without one part of the pipeline each, over one with all."""
    taken: dict[str, list[float]] = {part: [] for part in ("all", *pipeline_parts.ABLATIONS)}
    for _, part in figures.interleaved(list(taken), count):
        with timing.no_collection():
            first = subject.first(OURS, FAST) if part == "all" else pipeline_parts.without(part, subject, FAST)
        taken[part].append(first.ms)
    report.row(kind="parts", model=subject.name, link=FAST.name, **{f"without_{p}_ms": ms for p, ms in taken.items()})
    for part in pipeline_parts.ABLATIONS:
        ratios = [without / whole for without, whole in zip(taken[part], taken["all"], strict=True)]
        found.parts[part].append(figures.quartiles(ratios))


def races(waiting: Subject, other: Subject, count: int, report: figures.Report, bar: tqdm[Any]) -> None:
    """A request alone, beside a prefetch, and beside one that nobody lets it pass."""
    kinds: dict[str, Callable[[], Raced]] = {
        "alone": lambda: pipeline_parts.alone(waiting, RACED),
        "beside": lambda: pipeline_parts.race(waiting, other, RACED),
        "without_priority": lambda: pipeline_parts.race_without_priority(waiting, other, RACED),
    }
    bar.set_description(f"{waiting.name} beside {other.name}")
    raced: dict[str, list[Raced]] = {kind: [] for kind in kinds}
    for act in kinds.values():
        act()
    for _, kind in figures.interleaved(list(kinds), count):
        with timing.no_collection():
            raced[kind].append(kinds[kind]())
        bar.update(1 / len(kinds))
    taken = {kind: [one.ms for one in found] for kind, found in raced.items()}
    overtaken = {f"{kind}_overtook": [one.overtook for one in found] for kind, found in raced.items()}
    report.row(kind="race", waiting=waiting.name, other=other.name, link=RACED.name, **taken, **overtaken)
    pairs = [*zip(taken["alone"], taken["beside"], taken["without_priority"], strict=True)]
    report.measure("waiting_slowdown", [beside / alone for alone, beside, _ in pairs])
    report.measure("without_priority", [without / beside for _, beside, without in pairs])


def watch(subject: Subject, link: Link, report: figures.Report, found: Found) -> None:
    """One load with all that happened in it."""
    begin_ns, intervals = pipeline_parts.watched(subject, link)
    found.loads[f"{subject.name}, {link.name} MB/s"] = begin_ns, intervals
    rows = [[one.what, one.number, one.begin_ns - begin_ns, one.end_ns - begin_ns] for one in intervals]
    report.row(kind="timeline", model=subject.name, link=link.name, intervals_ns=rows)


def state(report: figures.Report, found: Found) -> None:
    cells = found.cells
    large = [one for one in cells if one.is_large]
    fast = [one for one in cells if one.link == FAST.name]
    over = {(one.model, one.link): one.over_limit(OURS) for one in cells}
    below_best = {(one.model, one.link): one.below(OURS, one.best(BASELINES)) for one in cells}
    report.place("first_answer_over_limit", geometric(list(over.values())))
    report.place("first_answer_over_limit_worst", largest(over[one.model, one.link] for one in large))
    report.place("below_pisel_1500", arithmetic([one.below(OURS, "pisel") for one in fast]))
    report.place("below_best_baseline_min", least(below_best.values()))
    report.place("bottleneck_occupancy", geometric([one.occupancy for one in cells]))
    names = {one.model for one in large}
    report.state(
        "peak_over_weights",
        max(over for (name, _, system), over in found.peaks.items() if system == OURS and name in names),
    )
    report.place("free_over_gated_warm", geometric(found.gated))
    for part, ratios in found.parts.items():
        report.place(f"without_{part}", geometric(ratios))
    report.say(_cells(cells, below_best))
    report.say(_peaks(found))
    report.say(f"the timeline of {', and of '.join(found.loads)}: {PICTURE}")


def _cells(cells: Sequence[Cell], below_best: dict[tuple[str, str], Quartiles]) -> str:
    header = ("first answer, median ms", "link", "rounds", "warm", "limit", *SYSTEMS, "over limit", "below best")
    rows = [
        (
            one.model,
            one.link,
            len(one.rounds),
            statistics.median(turn.warm_ms for turn in one.rounds),
            statistics.median(one.limit_ms(turn) for turn in one.rounds),
            *(one.median_ms(system) for system in SYSTEMS),
            one.over_limit(OURS)[1],
            f"{below_best[one.model, one.link][1]:.3f} {one.best(BASELINES)}",
            one.occupancy[1],
            one.rounds[0].bottleneck,
        )
        for one in cells
    ]
    return figures.table((*header, "occupancy", "of"), rows)


def _peaks(found: Found) -> str:
    places = dict.fromkeys((model, link) for model, link, _ in found.peaks)
    rows = [(f"{model}, {link}", *(found.peaks[model, link, system] for system in SYSTEMS)) for model, link in places]
    return figures.table(("peak less 64 MiB, over the weights", *SYSTEMS), rows)


def as_executor() -> None:
    """Begin again in the environment of the process that runs models, which torch reads when it is imported."""
    environ = zygote.environment(os.environ)
    if environ != dict(os.environ):
        os.execve(sys.executable, [sys.executable, "-m", "tests.bench.bench_pipeline"], environ)


if __name__ == "__main__":
    as_executor()
    main()
