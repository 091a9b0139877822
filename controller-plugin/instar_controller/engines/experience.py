"""What this node has seen its containers take, and so what the next job's ways are estimated to take.

One rule: a figure is the median of the last few of its sort, for a function and for its kind. So one outlier, weights
that had to come for instance, moves nothing for long, and what has changed is believed after three more. Nothing is
kept beyond the process: a server that begins knows nothing, and chooses as OpenWhisk does until it has seen enough.

Which figures make up an estimate is `forecast`'s to say. A function is an action by its full name: a new version of
it is expected to take what the one before took.
"""

from __future__ import annotations

import statistics
import threading
from collections import OrderedDict, defaultdict, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Generic, TypeVar

from instar_controller.policies import donors as sharing
from instar_controller.policies import forecast
from instar_controller.policies.estimates import Estimates
from instar_controller.policies.forecast import FunctionFigures, KindFigures
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
FUNCTIONS = 4096  # that anything is remembered of; then the one longest not heard of is forgotten


class _Sort(Enum):
    """What is measured beside runs."""

    BOOT = auto()
    INIT = auto()
    WAKE = auto()
    SLEEP = auto()
    OVERHEAD = auto()
    SAVED = auto()
    RELOAD = auto()
    EXTRA = auto()


K = TypeVar("K")


class _Recent(Generic[K]):
    """The last measurements of each sort, in milliseconds."""

    def __init__(self) -> None:
        self._last: defaultdict[K, deque[float]] = defaultdict(lambda: deque(maxlen=REMEMBERED))

    def add(self, sort: K, ms: float) -> None:
        self._last[sort].append(ms)

    def usual(self, sort: K) -> float | None:
        """The median; None if there is none."""
        return statistics.median(self._last[sort]) if sort in self._last else None

    def all_usual(self) -> dict[K, float]:
        return {sort: statistics.median(last) for sort, last in self._last.items()}


@dataclass(slots=True, eq=False)
class _Function:
    seen: _Recent[_Sort] = field(default_factory=_Recent)
    runs: _Recent[After] = field(default_factory=_Recent)
    first_run: Ran | None = None  # of a container, until the function runs again

    def figures(self) -> FunctionFigures:
        usual = self.seen.usual
        return FunctionFigures(usual(_Sort.INIT), usual(_Sort.OVERHEAD), usual(_Sort.RELOAD), self.runs.all_usual())


@dataclass(slots=True, eq=False)
class _Kind:
    seen: _Recent[_Sort] = field(default_factory=_Recent)
    runs: _Recent[After] = field(default_factory=_Recent)
    lags: _Recent[After] = field(default_factory=_Recent)
    can_transform: bool = True

    def figures(self) -> KindFigures:
        usual = self.seen.usual
        return KindFigures(
            boot_ms=usual(_Sort.BOOT),
            init_ms=usual(_Sort.INIT),
            wake_ms=usual(_Sort.WAKE),
            sleep_ms=usual(_Sort.SLEEP),
            saved_ms=usual(_Sort.SAVED),
            extra_ms=usual(_Sort.EXTRA),
            runs_ms=self.runs.all_usual(),
            lags_ms=self.lags.all_usual(),
            can_transform=self.can_transform,
        )


class Experience:
    """Learns from observations and answers as an `estimates.Estimate`. Safe for several threads; nobody waits."""

    def __init__(self, plans: Plans) -> None:
        self._plans = plans
        self._lock = threading.Lock()  # for what follows
        self._kinds: defaultdict[str, _Kind] = defaultdict(_Kind)
        self._functions: OrderedDict[str, _Function] = OrderedDict()  # the one heard of last at the end

    def learn(self, observation: Observation) -> None:
        """Something was seen."""
        with self._lock:
            kind = self._kinds[observation.kind]
            match observation:
                case Booted(_, ms):
                    kind.seen.add(_Sort.BOOT, ms)
                case Slept(_, ms):
                    kind.seen.add(_Sort.SLEEP, ms)
                case Woken(_, ms):
                    kind.seen.add(_Sort.WAKE, ms)
                case Initialised(_, action, ms):
                    kind.seen.add(_Sort.INIT, ms)
                    self._function(action).seen.add(_Sort.INIT, ms)
                case Transformed():
                    _learn_transformation(self._function(observation.action), kind, observation)
                case Ran():
                    _learn_run(self._function(observation.action), kind, observation)
                case Unable():
                    kind.can_transform = False

    def estimate(self, job: Job, donors: Collection[ContainerKey]) -> Estimates:
        """See `estimates.Estimate`. Only functions that belong together are offered plans between them: the others
        share no process that a model could stay in."""
        with self._lock:
            function = self._functions.get(job.key.action, _Function()).figures()
            kind = self._kinds[job.kind].figures()
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


def _learn_transformation(function: _Function, kind: _Kind, seen: Transformed) -> None:
    """Also how far off it was what would have been guessed of a function of which nothing is known."""
    figures = function.figures(), kind.figures()
    if seen.offer is None:
        init_ms = forecast.init_of(*figures)
        if init_ms is not None:
            kind.seen.add(_Sort.EXTRA, seen.ms - init_ms)
        function.seen.add(_Sort.RELOAD, seen.ms)
        return
    overhead_ms = max(0.0, seen.ms - seen.offer.transform_ms)
    guess_ms = forecast.guess_overhead_ms(*figures, seen.offer)
    if guess_ms is not None:
        kind.seen.add(_Sort.SAVED, guess_ms - overhead_ms)
    function.seen.add(_Sort.OVERHEAD, overhead_ms)


def _learn_run(function: _Function, kind: _Kind, seen: Ran) -> None:
    function.runs.add(seen.after, seen.ms)
    kind.runs.add(seen.after, seen.ms)
    if seen.after is not After.RUN:
        function.first_run = seen
    elif function.first_run is not None:
        kind.lags.add(function.first_run.after, max(0.0, function.first_run.ms - seen.ms))
        function.first_run = None
