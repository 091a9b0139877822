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

Each round has a broker, a database and invokers of its own, with 10, 100 and 1,000 actions and so many containers,
which stand side by side and take turns; and each turn has a controller's number, so a topic of answers, of its own.
For the tests' broker (tansu) reads a topic from its beginning at each fetch, 0.3 ms of processor for a thousand
messages that it holds, measured: over old topics it would be the broker that is slower from turn to turn. The first
figures are of the invoker with 100 actions. `rate_1000_over_10_actions` is the median of ratios within a round. A
`doubled` activation has two completions, a `lost` one has no completion or no record.
"""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench import figures, invoker_rig
from tests.bench.invoker_load import Load, Round, Sample
from tests.bench.invoker_rig import DatabaseServer, RunningBroker, RunningInvoker

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
ROUNDS, QUICK_ROUNDS = 7, 1
TURN_S, QUICK_TURN_S = 2.0, 1.0
WARM_UP_S = 0.3  # of each turn, not counted: its topic is new to everybody
BOOTING = 8  # activations in flight while containers start


@dataclass
class Found:
    """What the rounds have brought so far."""

    levels: dict[int, list[Round]] = field(default_factory=lambda: defaultdict(list))  # by activations in flight
    cpu_ms: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # of one activation
    rates: dict[int, list[float]] = field(default_factory=lambda: defaultdict(list))  # by number of actions
    activations: int = 0
    doubled: int = 0
    lost: int = 0


@dataclass
class World:
    """What one round has of its own."""

    broker: RunningBroker
    server: DatabaseServer
    revisions: Mapping[str, str]
    invokers: Mapping[int, RunningInvoker]  # by number of actions
    controllers: Iterator[int] = field(default_factory=itertools.count)
    samples: dict[str, Sample] = field(default_factory=dict)

    def actions(self, count: int) -> dict[str, str]:
        return dict(list(self.revisions.items())[:count])

    def warm(self, count: int) -> None:
        """Have a container for each action of this invoker."""
        with self._load() as load:
            load.warm(self.invokers[count].id, self.actions(count), in_flight=BOOTING)

    def turn(self, count: int, *, in_flight: int, seconds: float) -> tuple[Round, float]:
        """What so many seconds bring, and what the invoker's process took of a processor for it, in seconds."""
        invoker, actions = self.invokers[count], self.actions(count)
        with self._load() as load:
            load.keep(invoker.id, actions, in_flight=in_flight, seconds=WARM_UP_S)
            before_s = invoker.cpu_s
            found = _checked(load.keep(invoker.id, actions, in_flight=in_flight, seconds=seconds))
            return found, invoker.cpu_s - before_s

    @contextmanager
    def _load(self) -> Iterator[Load]:
        load = Load(self.broker, controller=str(next(self.controllers)))
        try:
            yield load
        finally:
            load.close()
            self.samples |= load.samples


def main() -> None:
    settings = figures.Settings.of(os.environ)
    rounds, turn_s = (QUICK_ROUNDS, QUICK_TURN_S) if settings.quick else (ROUNDS, TURN_S)
    found = Found()
    with figures.reporting(FIGURES, settings) as report:
        levels, growth = list(figures.interleaved(IN_FLIGHT, rounds)), list(figures.interleaved(ACTIONS, rounds))
        with figures.progress(rounds, "rounds") as bar:
            for round_ in range(rounds):
                with _world() as world:
                    for level in (level for turn, level in levels if turn == round_):
                        taken, cpu_s = world.turn(USUAL, in_flight=level, seconds=turn_s)
                        found.levels[level].append(taken)
                        found.cpu_ms[level].append(cpu_s * 1000 / len(taken.samples))
                    for count in (count for turn, count in growth if turn == round_):
                        taken, _ = world.turn(count, in_flight=GROWTH_IN_FLIGHT, seconds=turn_s)
                        found.rates[count].append(taken.rate)
                        report.row(actions=count, per_s=taken.rate)
                    for invoker in world.invokers.values():
                        invoker.end()
                    stored = invoker_rig.records(world.server)
                for id, sample in world.samples.items():
                    found.activations += 1
                    found.doubled += sample.completions > 1
                    found.lost += not sample.completions or id not in stored
                bar.update()
        _tell_levels(report, found)
        _tell_growth(report, found)
        report.state("doubled", found.doubled)
        report.state("lost", found.lost)
        report.say(
            f"{found.activations} activations, {rounds} rounds of {turn_s:g} s for each line; containers are "
            "processes that run no function (noop_container), broker and database those of the tests (tansu behind "
            "kafka_relay, pouchdb-server)"
        )


@contextmanager
def _world() -> Iterator[World]:
    """A broker, a database, and invokers all of whose containers are warm."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="instar-bench-")))
        broker = stack.enter_context(invoker_rig.running_broker())
        server = stack.enter_context(invoker_rig.running_database(folder))
        revisions = invoker_rig.put_actions(server, max(ACTIONS))
        invokers = {}
        for id, count in enumerate(ACTIONS):
            state = folder / f"invoker{id}"
            invokers[count] = RunningInvoker(id, broker.hosts, server, state, containers=count)
            stack.callback(invokers[count].kill)
        world = World(broker, server, revisions, invokers)
        for count in ACTIONS:
            world.warm(count)
        yield world


def _tell_levels(report: figures.Report, found: Found) -> None:
    rows = []
    for level in IN_FLIGHT:
        found_rounds = found.levels[level]
        added = [sample.added_ms for each in found_rounds for sample in each.samples]
        round_trips = [sample.round_trip_ms for each in found_rounds for sample in each.samples]
        container = [sample.container_ns / 1e6 for each in found_rounds for sample in each.samples]
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
                statistics.median(each.rate for each in found_rounds),
                statistics.median(found.cpu_ms[level]),
            )
        )
    for level, name in ((1, "added_ms_p50_at_1"), (8, "added_ms_p50_at_8")):
        report.measure(name, [sample.added_ms for each in found.levels[level] for sample in each.samples])
    for level, name in ((8, "added_ms_p99_at_8"), (32, "added_ms_p99_at_32")):
        taken = found.levels[level]
        report.measure(
            name, [figures.percentile([sample.added_ms for sample in each.samples], 0.99) for each in taken]
        )
    report.measure("activations_per_s", [each.rate for each in found.levels[max(IN_FLIGHT)]])
    report.measure("cpu_ms_per_activation", found.cpu_ms[GROWTH_IN_FLIGHT])
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


def _tell_growth(report: figures.Report, found: Found) -> None:
    ratios = [most / least for most, least in zip(found.rates[1000], found.rates[10], strict=True)]
    report.measure("rate_1000_over_10_actions", ratios)
    header = ("actions", "per s, lower quartile", "median", "upper quartile")
    report.say(figures.table(header, [(count, *figures.quartiles(found.rates[count])) for count in ACTIONS]))


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
