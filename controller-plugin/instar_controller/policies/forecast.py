"""From what was seen to what a job's ways will take.

One rule: every estimate is a sum of figures that were measured on this node, or estimated by a plan; where one is
missing that nothing measured can stand in for, the sum is not known. What stands in for what is written here and
nowhere else:

    a function's own figure       its kind's, over all functions
    a first run after /init, …    its warm run, and by how much first runs of this kind are slower than the next one
    that lag, after a plan        none: the process that computes has run before
    that lag, after a load        the lag after /init
    /transform by a plan          /init, less the loading in it, plus the plan; both as the planner estimates them
    /transform without a plan     /init: the same work in a container that stands
    waking                        putting to sleep: the same call to the engine, the other way round

So a first donor can be chosen before one was ever taken. What it took is believed at once where it is less than the
guess. Where it is more it may have been the moment: nothing would ever tell, if nobody tried again. So it has to have
been seen `TRIES` times of late, and until then the guess stands.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from instar_controller.policies.estimates import Estimates, PlanOffer, Way
from instar_controller.policies.observations import After
from instar_controller.whisk.invocation import ContainerKey

TRIES = 3  # more than half of the measurements that make a figure, so one or two that were bad luck do not count


@dataclass(frozen=True, slots=True)
class Figure:
    """What something usually took, in milliseconds, and how often that was seen of late."""

    ms: float
    times: int


@dataclass(frozen=True, slots=True)
class FunctionFigures:
    """What one function usually took, in milliseconds; absent or None if that was never seen."""

    init_ms: float | None = None
    overhead: Figure | None = None  # of `/transform` by a plan, beyond what the planner had estimated
    reload: Figure | None = None  # `/transform` without a plan
    runs_ms: Mapping[After, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class KindFigures:
    """What functions of one kind usually took, in milliseconds; absent or None if that was never seen."""

    boot_ms: float | None = None
    init_ms: float | None = None
    wake_ms: float | None = None
    sleep_ms: float | None = None
    overhead_extra: Figure | None = None  # of `/transform` by a plan, against `guess_overhead_ms`
    reload_extra: Figure | None = None  # of `/transform` without a plan, against `/init`
    runs_ms: Mapping[After, float] = field(default_factory=dict)
    lags_ms: Mapping[After, float] = field(default_factory=dict)  # of a first run, against the run that followed it
    can_transform: bool = True


def estimates(function: FunctionFigures, kind: KindFigures, offers: Mapping[ContainerKey, PlanOffer]) -> Estimates:
    """For a job of this function, with the plans that are offered from the functions of donors."""
    init_ms = init_of(function, kind)
    fresh_ms = _first_run_ms(After.INIT, function, kind)
    known = Estimates(
        warm_ms=_run_ms(After.RUN, function, kind),
        prewarmed_ms=_sum(init_ms, fresh_ms),
        cold_ms=_sum(kind.boot_ms, init_ms, fresh_ms),
        wake_ms=kind.sleep_ms if kind.wake_ms is None else kind.wake_ms,
    )
    if not kind.can_transform:
        return known
    reload_ms = _sum(_reload_ms(function, kind), _first_run_ms(After.LOAD, function, kind))
    plans: dict[ContainerKey, Way] = {}
    for donor, offer in offers.items():
        overhead_ms = _overhead_ms(function, kind, offer)
        ms = _sum(overhead_ms, offer.transform_ms, _first_run_ms(After.PLAN, function, kind))
        if ms is not None:
            plans[donor] = Way(offer, ms)
    return replace(known, reload_ms=reload_ms, plans=plans)


def init_of(function: FunctionFigures, kind: KindFigures) -> float | None:
    """How long `/init` of this function takes."""
    return kind.init_ms if function.init_ms is None else function.init_ms


def guess_overhead_ms(function: FunctionFigures, kind: KindFigures, offer: PlanOffer) -> float | None:
    """What `/transform` takes beyond its plan, where none was ever carried out: the part of `/init` that is not
    loading."""
    init_ms = init_of(function, kind)
    return None if init_ms is None else max(0.0, init_ms - offer.load_ms)


def _overhead_ms(function: FunctionFigures, kind: KindFigures, offer: PlanOffer) -> float | None:
    return _corrected(guess_overhead_ms(function, kind, offer), kind.overhead_extra, function.overhead)


def _reload_ms(function: FunctionFigures, kind: KindFigures) -> float | None:
    return _corrected(init_of(function, kind), kind.reload_extra, function.reload)


def _corrected(guess_ms: float | None, extra: Figure | None, own: Figure | None) -> float | None:
    """The guess, after what was seen of others and of this very function."""
    if guess_ms is not None and extra is not None:
        guess_ms = _believed(guess_ms, Figure(max(0.0, guess_ms + extra.ms), extra.times))
    if own is None:
        return guess_ms
    return own.ms if guess_ms is None else _believed(guess_ms, own)


def _believed(guess_ms: float, seen: Figure) -> float:
    return seen.ms if seen.times >= TRIES else min(guess_ms, seen.ms)


def _first_run_ms(after: After, function: FunctionFigures, kind: KindFigures) -> float | None:
    """Never less than a warm run: a way that costs a container must not win by what its arguments happened to be."""
    first_ms, warm_ms = (_run_ms(each, function, kind) for each in (after, After.RUN))
    return None if first_ms is None or warm_ms is None else max(first_ms, warm_ms)


def _run_ms(after: After, function: FunctionFigures, kind: KindFigures) -> float | None:
    if after in function.runs_ms:
        return function.runs_ms[after]
    runs_ms = function.runs_ms or kind.runs_ms
    for known in After:  # a warm run says most about another one
        if known in runs_ms:
            return max(0.0, runs_ms[known] - _lag_ms(known, kind) + _lag_ms(after, kind))
    return None


def _lag_ms(after: After, kind: KindFigures) -> float:
    match after:
        case After.RUN:
            return 0.0
        case After.LOAD if After.LOAD not in kind.lags_ms:
            return _lag_ms(After.INIT, kind)
        case _:
            return kind.lags_ms.get(after, 0.0)


def _sum(*parts_ms: float | None) -> float | None:
    known_ms = [part for part in parts_ms if part is not None]
    return sum(known_ms) if len(known_ms) == len(parts_ms) else None
