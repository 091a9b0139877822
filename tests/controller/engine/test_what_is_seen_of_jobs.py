"""What the engine tells of how long things took: each part that went well, once, and nothing of what failed."""

from __future__ import annotations

import queue
from collections.abc import Callable, Collection

import pytest
from engines import WAIT_S, Engine, start_of
from jobs import action, invocation
from worlds import offer

from instar_controller.engines.scheduler import PoolSettings
from instar_controller.policies.donors import Sharing
from instar_controller.policies.estimates import Estimates, Way
from instar_controller.policies.idle import Patience
from instar_controller.policies.observations import (
    After,
    Booted,
    Initialised,
    Observation,
    Ran,
    Slept,
    Transformed,
    Unable,
    Woken,
)
from instar_controller.policies.prewarm import StemCells
from instar_controller.policies.snapshot import Job
from instar_controller.ports import NOT_OFFERED
from instar_controller.whisk.invocation import ContainerKey, Invocation
from instar_controller.whisk.response import Outcome, Replied, TimedOut

KIND = "python:3"
PLAN = offer({"from": "old"})


def by_plan(job: Job, donors: Collection[ContainerKey]) -> Estimates:
    return Estimates(warm_ms=20, cold_ms=1500, plans={donor: Way(PLAN, 30) for donor in donors}, wake_ms=0)


def by_loading(job: Job, donors: Collection[ContainerKey]) -> Estimates:
    return Estimates(warm_ms=20, cold_ms=1500, reload_ms=90, wake_ms=0)


def job(name: str, code: str = "def main(args): return args") -> Invocation:
    return invocation(action(code, name=name), revision=len(name))


def run(engine: Engine, wanted: Invocation) -> object:
    """How it started; its container is idle when this returns."""
    return start_of(engine.run_to_the_end(wanted))


@pytest.fixture
def seen() -> queue.SimpleQueue[Observation]:
    return queue.SimpleQueue()


def drained(seen: queue.SimpleQueue[Observation]) -> list[Observation]:
    found = []
    while not seen.empty():
        found.append(seen.get())
    assert all(each.ms >= 0 for each in found if not isinstance(each, Unable))
    return found


def told(observation: Observation) -> tuple[object, ...]:
    """All but the milliseconds."""
    match observation:
        case Booted(kind, _) | Slept(kind, _) | Woken(kind, _) | Unable(kind):
            return type(observation), kind
        case Initialised(kind, name, _):
            return Initialised, kind, name
        case Transformed(kind, name, _, given):
            return Transformed, kind, name, given
        case Ran(kind, name, _, after):
            return Ran, kind, name, after


def settings(**more: object) -> PoolSettings:
    return PoolSettings(sharing=Sharing(idle_threshold_s=0.0), **more)  # type: ignore[arg-type]


def test_each_start_tells_of_its_parts(
    make_engine: Callable[..., Engine], seen: queue.SimpleQueue[Observation]
) -> None:
    engine = make_engine(settings(), estimate=by_plan, on_seen=seen.put)
    for name, start, parts in (
        ("old", "cold", [(Booted, KIND), (Initialised, KIND, "guest/old"), (Ran, KIND, "guest/old", After.INIT)]),
        ("old", "warm", [(Ran, KIND, "guest/old", After.RUN)]),
        ("new", "transformed", [(Transformed, KIND, "guest/new", PLAN), (Ran, KIND, "guest/new", After.PLAN)]),
    ):
        assert run(engine, job(name)) == start
        assert [told(each) for each in drained(seen)] == parts


def test_a_load_in_a_donor_is_told_as_one(
    make_engine: Callable[..., Engine], seen: queue.SimpleQueue[Observation]
) -> None:
    engine = make_engine(settings(), estimate=by_loading, on_seen=seen.put)
    run(engine, job("old"))
    drained(seen)
    assert run(engine, job("new")) == "transformed"
    parts = [told(each) for each in drained(seen)]
    assert parts == [(Transformed, KIND, "guest/new", None), (Ran, KIND, "guest/new", After.LOAD)]


def test_a_stem_cell_tells_of_its_boot(
    make_engine: Callable[..., Engine], seen: queue.SimpleQueue[Observation]
) -> None:
    engine = make_engine(settings(stem_cells=(StemCells(KIND, 256, 1),)), on_seen=seen.put)
    engine.up.get(timeout=WAIT_S)
    assert [told(each) for each in drained(seen)] == [(Booted, KIND)]


def test_a_pause_and_a_waking_are_told(
    make_engine: Callable[..., Engine], seen: queue.SimpleQueue[Observation]
) -> None:
    engine = make_engine(settings(patience=Patience(pause_grace_s=0.0)), on_seen=seen.put)
    engine.run(job("old"))
    while told(seen.get(timeout=WAIT_S)) != (Slept, KIND):
        pass
    engine.run(job("old"))
    assert told(seen.get(timeout=WAIT_S)) == (Woken, KIND)


def on_path(engine: Engine, wanted: str, outcome: Outcome) -> None:
    engine.containers.before_post = lambda _, path: outcome if path == wanted else None


@pytest.mark.parametrize(
    ("path", "outcome", "parts"),
    [
        ("/init", Replied(502, b"{}", 2), {Booted}),
        ("/init", TimedOut(60_000), {Booted}),
        ("/run", Replied(502, b"{}", 2), {Booted, Initialised}),
        ("/run", TimedOut(60_000), {Booted, Initialised}),
    ],
    ids=["init fails", "init is late", "run fails", "run is late"],
)
def test_what_fails_tells_nothing_of_how_long_it_takes(
    make_engine: Callable[..., Engine],
    seen: queue.SimpleQueue[Observation],
    path: str,
    outcome: Outcome,
    parts: set[type],
) -> None:
    engine = make_engine(settings(), on_seen=seen.put)
    on_path(engine, path, outcome)
    run(engine, job("old"))
    assert {type(each) for each in drained(seen)} == parts


@pytest.mark.parametrize("status", [409, 401, 502])
def test_a_transformation_that_fails_tells_nothing_of_how_long_it_takes(
    make_engine: Callable[..., Engine], seen: queue.SimpleQueue[Observation], status: int
) -> None:
    engine = make_engine(settings(), estimate=by_plan, on_seen=seen.put)
    run(engine, job("old"))
    drained(seen)
    on_path(engine, "/transform", Replied(status, b'{"error":"no"}', 14))
    assert run(engine, job("new")) == "cold"
    assert [type(each) for each in drained(seen)] == [Booted, Initialised, Ran]


def test_containers_that_cannot_be_transformed_are_told_of(
    make_engine: Callable[..., Engine], seen: queue.SimpleQueue[Observation]
) -> None:
    engine = make_engine(settings(), estimate=by_plan, on_seen=seen.put)
    run(engine, job("old"))
    drained(seen)
    on_path(engine, "/transform", NOT_OFFERED)
    assert run(engine, job("new")) == "cold"
    assert told(drained(seen)[0]) == (Unable, KIND)
    assert run(engine, job("old")) == "warm"
