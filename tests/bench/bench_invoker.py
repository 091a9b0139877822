"""What `instar invoker` adds to an activation, between a controller's message and its answer.

A controller (`invoker_load.py`) sends activations through a broker to a real `instar invoker`, which fetches actions
from a database, runs them in containers, answers through the broker and stores the records: every part a process of
its own on this machine. Everything is warm, and each action has its own container.

    added       by the invoker: from when the message leaves the broker for it until its answer has come there, less
                the time in the container, from its accepting the connection to its answer, as that has measured
    round trip  all that a controller waits for beside the container: from just before it sends the message until it
                has read the result, so the broker's part and that of who measures, too
    at N        so many activations in flight: the next is sent when one is complete

The containers are processes that speak the protocol, write the end of their log, and run no function
(`noop_container/`): a container that ran one would be most of what is measured, and a thousand would not fit here.
Broker and database are those of the tests: real servers of their protocols, no clusters.

Invokers with 10, 100 and 1,000 actions, and so many containers, stand side by side and take turns; the first figures
are of the one with 100. `rate_1000_over_10_actions` is the median of ratios of neighbouring turns. A `doubled`
activation has two completions, a `lost` one has no completion or no record.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.bench import figures, invoker_rig
from tests.bench.invoker_load import Load, Round
from tests.bench.invoker_rig import RunningInvoker

FIGURES = (
    "added_ms_p50_at_1",
    "added_ms_p50_at_8",
    "added_ms_p99_at_8",
    "added_ms_p99_at_32",
    "activations_per_s",
    "cpu_ms_per_activation",
    "rate_1000_over_10_actions",
    "doubled",
    "lost",
)
ACTIONS = (10, 100, 1000)
IN_FLIGHT = (1, 8, 32)
USUAL, GROWTH_IN_FLIGHT = 100, 8  # the actions of the invoker for the first figures; in flight where actions grow
ROUNDS, QUICK_ROUNDS = 7, 3
TURN_S, QUICK_TURN_S = 4.0, 1.5
WARM_UP_S = 1.0
BOOTING = 8  # activations in flight while containers start


def main() -> None:
    settings = figures.Settings.of(os.environ)
    rounds, turn_s = (QUICK_ROUNDS, QUICK_TURN_S) if settings.quick else (ROUNDS, TURN_S)
    with (
        figures.reporting(FIGURES, settings) as report,
        tempfile.TemporaryDirectory(prefix="instar-bench-") as folder,
        invoker_rig.running_broker() as broker,
        invoker_rig.running_database(Path(folder)) as server,
    ):
        revisions = invoker_rig.put_actions(server, max(ACTIONS))
        load = Load(broker)
        with _invokers(broker.hosts, server, Path(folder)) as invokers:
            for count, invoker in invokers.items():
                load.warm(invoker.id, _first(revisions, count), in_flight=BOOTING)
                load.keep(invoker.id, _first(revisions, count), in_flight=BOOTING, seconds=WARM_UP_S)
            _levels(report, load, invokers[USUAL], _first(revisions, USUAL), rounds, turn_s)
            _growth(report, load, invokers, revisions, rounds, turn_s)
            for invoker in invokers.values():
                invoker.end()
        load.close()
        stored = invoker_rig.records(server)
        completions = {id: sample.completions for id, sample in load.samples.items()}
        report.state("doubled", sum(count > 1 for count in completions.values()))
        report.state("lost", sum(not count or id not in stored for id, count in completions.items()))
        report.say(
            f"{len(completions)} activations, {rounds} rounds of {turn_s:g} s for each line; containers are "
            "processes that run no function (noop_container), broker and database those of the tests (tansu behind "
            "kafka_relay, pouchdb-server)"
        )


def _levels(
    report: figures.Report,
    load: Load,
    invoker: RunningInvoker,
    actions: Mapping[str, str],
    rounds: int,
    turn_s: float,
) -> None:
    taken: dict[int, list[Round]] = {level: [] for level in IN_FLIGHT}
    cpu_ms: dict[int, list[float]] = {level: [] for level in IN_FLIGHT}
    with figures.progress(rounds, "in flight") as bar:
        for _, level in figures.interleaved(IN_FLIGHT, rounds):
            before_s = invoker.cpu_s
            found = _checked(load.keep(invoker.id, actions, in_flight=level, seconds=turn_s))
            cpu_ms[level].append((invoker.cpu_s - before_s) * 1000 / len(found.samples))
            taken[level].append(found)
            bar.update(1 / len(IN_FLIGHT))
    rows = []
    for level, found_rounds in taken.items():
        added = [sample.added_ms for each in found_rounds for sample in each.samples]
        round_trips = [sample.round_trip_ms for each in found_rounds for sample in each.samples]
        container = [sample.container_ns / 1e6 for each in found_rounds for sample in each.samples]
        rates = [each.rate for each in found_rounds]
        for each in found_rounds:
            ms = [sample.added_ms for sample in each.samples]
            report.row(
                in_flight=level,
                activations=len(ms),
                per_s=each.rate,
                added_ms_p50=statistics.median(ms),
                added_ms_p99=figures.percentile(ms, 0.99),
                round_trip_ms_p50=statistics.median(sample.round_trip_ms for sample in each.samples),
            )
        rows.append(
            (
                level,
                *figures.quartiles(added),
                figures.percentile(added, 0.99),
                statistics.median(round_trips),
                statistics.median(container),
                statistics.median(rates),
                statistics.median(cpu_ms[level]),
            )
        )
    for level, name in ((1, "added_ms_p50_at_1"), (8, "added_ms_p50_at_8")):
        report.measure(name, [sample.added_ms for each in taken[level] for sample in each.samples])
    for level, name in ((8, "added_ms_p99_at_8"), (32, "added_ms_p99_at_32")):
        p99 = [figures.percentile([sample.added_ms for sample in each.samples], 0.99) for each in taken[level]]
        report.measure(name, p99)
    report.measure("activations_per_s", [each.rate for each in taken[max(IN_FLIGHT)]])
    report.measure("cpu_ms_per_activation", cpu_ms[GROWTH_IN_FLIGHT])
    header = (
        "in flight",
        "added ms, lower quartile",
        "median",
        "upper",
        "p99",
        "round trip",
        "container",
        "per s",
        "CPU ms",
    )
    report.say(figures.table(header, rows))


def _growth(
    report: figures.Report,
    load: Load,
    invokers: Mapping[int, RunningInvoker],
    revisions: Mapping[str, str],
    rounds: int,
    turn_s: float,
) -> None:
    rates: dict[int, list[float]] = {count: [] for count in ACTIONS}
    with figures.progress(rounds, "actions") as bar:
        for _, count in figures.interleaved(ACTIONS, rounds):
            actions = _first(revisions, count)
            found = _checked(load.keep(invokers[count].id, actions, in_flight=GROWTH_IN_FLIGHT, seconds=turn_s))
            rates[count].append(found.rate)
            report.row(actions=count, per_s=found.rate)
            bar.update(1 / len(ACTIONS))
    report.measure(
        "rate_1000_over_10_actions", [most / least for most, least in zip(rates[1000], rates[10], strict=True)]
    )
    header = ("actions", "per s, lower quartile", "median", "upper quartile")
    report.say(figures.table(header, [(count, *figures.quartiles(found)) for count, found in rates.items()]))


@contextmanager
def _invokers(hosts: str, server: invoker_rig.DatabaseServer, folder: Path) -> Iterator[Mapping[int, RunningInvoker]]:
    with ExitStack() as stack:
        started = {}
        for id, count in enumerate(ACTIONS):
            state = folder / f"invoker{id}"
            started[count] = RunningInvoker(id, hosts, server, state, containers=count)
            stack.callback(started[count].kill)
        yield started


def _first(revisions: Mapping[str, str], count: int) -> dict[str, str]:
    return dict(list(revisions.items())[:count])


def _checked(found: Round) -> Round:
    """Raises `ValueError` unless everything was warm and answered once."""
    for sample in found.samples:
        if not sample.is_warm:
            raise ValueError(f"{sample.action} was not warm, so its time is no warm one")
        if not 0 < sample.left_ns < sample.came_ns:
            raise ValueError(f"an activation of {sample.action} was not seen to pass")
    return found


if __name__ == "__main__":
    main()
