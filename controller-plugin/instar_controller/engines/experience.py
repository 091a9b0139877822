"""What this node has seen its containers take, and so what the next job's ways are estimated to take.

One rule: a figure is the median of the last few of its sort, for a function and for its kind. So one outlier, weights
that had to come for instance, moves nothing for long, and what has changed is believed after three times. Nothing is
kept beyond the process: a server that begins knows nothing, and chooses as OpenWhisk does until it has seen enough.

Which figures make up an estimate is `forecast`'s to say. A function is an action by its full name: a new version of
it is expected to take what the one before took.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from instar_controller.policies import donors as sharing
from instar_controller.policies import forecast
from instar_controller.policies.estimates import Estimates
from instar_controller.policies.forecast import Figure, FunctionFigures, KindFigures
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
from instar_controller.policies.snapshot import Job
from instar_controller.ports import Plans
from instar_controller.whisk.invocation import ContainerKey

REMEMBERED = 5  # of each sort: the last ones
LATELY_S = 600.0  # what was seen before is not held against a way any more: it is tried again
FUNCTIONS = 4096  # that anything is remembered of; then the one longest not heard of is forgotten


class _Sort(Enum):
    """What is measured beside runs; see `forecast`."""

    BOOT = auto()
    INIT = auto()
    WAKE = auto()
    SLEEP = auto()
    OVERHEAD = auto()
    OVERHEAD_EXTRA = auto()
    RELOAD = auto()
    RELOAD_EXTRA = auto()


K = TypeVar("K")


class _Recent(Generic[K]):
    """The last measurements of each sort: milliseconds, and when that was."""

    def __init__(self) -> None:
        self._last: defaultdict[K, deque[tuple[float, float]]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    def add(self, sort: K, ms: float, now_s: float) -> None:
        self._last[sort].append((ms, now_s))

    def usual_ms(self, sort: K) -> float | None:
        """The median; None if there is none."""
        return _median(self._last[sort]) if sort in self._last else None

    def figure(self, sort: K, now_s: float) -> Figure | None:
        """The median, and how many of these are of late; None if there is none."""
        if sort not in self._last:
            return None
        last = self._last[sort]
        return Figure(_median(last), sum(now_s < seen_s + LATELY_S for _, seen_s in last))

    def all_usual_ms(self) -> dict[K, float]:
        return {sort: _median(last) for sort, last in self._last.items()}


def _median(last: Collection[tuple[float, float]]) -> float:
    return statistics.median(ms for ms, _ in last)


@dataclass(slots=True, eq=False)
class _Function:
    seen: _Recent[_Sort] = field(default_factory=_Recent)
    runs: _Recent[After] = field(default_factory=_Recent)
    first_run: Ran | None = None  # of a container, until the function runs again

    def figures(self, now_s: float) -> FunctionFigures:
        return FunctionFigures(
            init_ms=self.seen.usual_ms(_Sort.INIT),
            overhead=self.seen.figure(_Sort.OVERHEAD, now_s),
            reload=self.seen.figure(_Sort.RELOAD, now_s),
            runs_ms=self.runs.all_usual_ms(),
        )


@dataclass(slots=True, eq=False)
class _Kind:
    seen: _Recent[_Sort] = field(default_factory=_Recent)
    runs: _Recent[After] = field(default_factory=_Recent)
    lags: _Recent[After] = field(default_factory=_Recent)
    can_transform: bool = True

    def figures(self, now_s: float) -> KindFigures:
        return KindFigures(
            boot_ms=self.seen.usual_ms(_Sort.BOOT),
            init_ms=self.seen.usual_ms(_Sort.INIT),
            wake_ms=self.seen.usual_ms(_Sort.WAKE),
            sleep_ms=self.seen.usual_ms(_Sort.SLEEP),
            overhead_extra=self.seen.figure(_Sort.OVERHEAD_EXTRA, now_s),
            reload_extra=self.seen.figure(_Sort.RELOAD_EXTRA, now_s),
            runs_ms=self.runs.all_usual_ms(),
            lags_ms=self.lags.all_usual_ms(),
            can_transform=self.can_transform,
        )


class Experience:
    """Learns from observations and answers as an `estimates.Estimate`. Safe for several threads; nobody waits."""

    def __init__(self, plans: Plans, now_s: Callable[[], float] = time.monotonic) -> None:
        self._plans = plans
        self._now_s = now_s
        self._lock = threading.Lock()  # for what follows
        self._kinds: defaultdict[str, _Kind] = defaultdict(_Kind)
        self._functions: OrderedDict[str, _Function] = OrderedDict()  # the one heard of last at the end

    def learn(self, seen: Observation) -> None:
        """Something was seen."""
        now_s = self._now_s()
        with self._lock:
            kind = self._kinds[seen.kind]
            match seen:
                case Booted(_, ms):
                    kind.seen.add(_Sort.BOOT, ms, now_s)
                case Slept(_, ms):
                    kind.seen.add(_Sort.SLEEP, ms, now_s)
                case Woken(_, ms):
                    kind.seen.add(_Sort.WAKE, ms, now_s)
                case Initialised(_, action, ms):
                    kind.seen.add(_Sort.INIT, ms, now_s)
                    self._function(action).seen.add(_Sort.INIT, ms, now_s)
                case Transformed(_, action):
                    _learn_transformation(self._function(action), kind, seen, now_s)
                case Ran(_, action):
                    _learn_run(self._function(action), kind, seen, now_s)
                case Unable():
                    kind.can_transform = False

    def estimate(self, job: Job, donors: Collection[ContainerKey]) -> Estimates:
        """See `estimates.Estimate`. Only functions that belong together are offered plans between them: the others
        share no process that a model could stay in."""
        now_s = self._now_s()
        with self._lock:
            function = self._functions.get(job.key.action, _Function()).figures(now_s)
            kind = self._kinds[job.kind].figures(now_s)
        near = {donor for donor in donors if sharing.belong_together(donor, job.key)}
        offers = {donor: offer for donor in near if (offer := self._plans.offer(donor, job.key)) is not None}
        return forecast.estimates(function, kind, offers)

    def __repr__(self) -> str:
        with self._lock:
            return f"<Experience of {len(self._functions)} functions, {len(self._kinds)} kinds>"

    def _function(self, action: str) -> _Function:
        function = self._functions.setdefault(action, _Function())
        self._functions.move_to_end(action)
        if len(self._functions) > FUNCTIONS:
            self._functions.popitem(last=False)
        return function


def _learn_transformation(function: _Function, kind: _Kind, seen: Transformed, now_s: float) -> None:
    """Also how far off it was what would have been guessed of a function that was never transformed into."""
    figures = function.figures(now_s), kind.figures(now_s)
    if seen.offer is None:
        taken_ms, guess_ms = seen.ms, forecast.init_of(*figures)
        sort, extra = _Sort.RELOAD, _Sort.RELOAD_EXTRA
    else:
        taken_ms = max(0.0, seen.ms - seen.offer.transform_ms)
        guess_ms = forecast.guess_overhead_ms(*figures, seen.offer)
        sort, extra = _Sort.OVERHEAD, _Sort.OVERHEAD_EXTRA
    function.seen.add(sort, taken_ms, now_s)
    if guess_ms is not None:
        kind.seen.add(extra, taken_ms - guess_ms, now_s)


def _learn_run(function: _Function, kind: _Kind, seen: Ran, now_s: float) -> None:
    function.runs.add(seen.after, seen.ms, now_s)
    kind.runs.add(seen.after, seen.ms, now_s)
    if seen.after is not After.RUN:
        function.first_run = seen
    elif function.first_run is not None:
        kind.lags.add(function.first_run.after, max(0.0, function.first_run.ms - seen.ms), now_s)
        function.first_run = None
