"""What a process does that plans for the registry: read both models, plan, prove, keep, hand back.

One rule: nothing is kept that was not proven to arrive. A process ends with whoever started it, and lets everybody
else go first.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing import connection

from instar.plan import planner, replay
from instar.plan import plans as encoding
from instar.plan.costs import Costs
from instar.plan.outline import Outline
from instar.plan.plans import LoadInstead
from instar_controller.clients.plans import Answer, KeptPlan
from instar_controller.engines.repository import Repository
from instar_controller.errors import StoreError, TooLargeError

OUTLINES = 512  # remembered; one takes some hundreds of kilobytes

Pair = tuple[str, str]  # digests of source and target


@dataclass(frozen=True, slots=True)
class Lost:
    """The repository has lost the model of this digest, or it is damaged there."""

    digest: str


@dataclass(frozen=True, slots=True)
class Failed:
    """There is no plan, by a mistake of ours."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unread:
    """The repository did not answer when it was asked for the models, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unkept:
    """What came of planning; the repository did not take it, and why."""

    answer: Answer
    reason: str


Result = Answer | Lost | Failed | Unread | Unkept


@dataclass(frozen=True, slots=True)
class Results:
    """A result for each pair that a process was given, and the processor time that they took together."""

    results: Sequence[Result]
    planning_s: float


def begin() -> None:
    """Prepare this process for `plan`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C goes to all processes of a terminal; the parent ends us
    os.nice(19)
    threading.Thread(target=_end_with_parent, name="instar-lifeline", daemon=True).start()


def plan(repository: Repository, costs: Costs, key: str, pairs: Sequence[Pair]) -> Results:
    """Plan each pair. Does not raise."""
    begun_s = time.thread_time()
    results = [_plan(repository, costs, key, *pair) for pair in pairs]
    return Results(results, time.thread_time() - begun_s)


def _plan(repository: Repository, costs: Costs, key: str, source: str, target: str) -> Result:
    try:
        before, after = _outline(repository, source), _outline(repository, target)
        if before is None or after is None:
            _outline.cache_clear()  # it remembers what is absent, too
            return Lost(source if before is None else target)
        answer = proven(before, after, costs)
    except StoreError as error:
        return Unread(str(error))
    except Exception as error:  # one pair's mistake is not to cost the others their plans
        return Failed(f"{type(error).__name__}: {error}")
    if isinstance(answer, Failed):
        return answer
    try:
        repository.put(source, target, key, answer)
    except StoreError as error:
        return Unkept(answer, str(error))
    except TooLargeError as error:
        return Failed(str(error))
    return answer


def proven(source: Outline, target: Outline, costs: Costs) -> Answer | Failed:
    """A plan that arrives, or the word to load instead. Raises `PlanError` if a step of the plan does not fit."""
    found = planner.plan(source, target, costs)
    if isinstance(found, LoadInstead):
        return found
    if not replay.arrives(found, source, target):
        return Failed(f"{found!r} does not arrive")
    encoded = encoding.encode(found)
    if len(encoded) > encoding.MAX_BYTES:
        return Failed(f"{found!r} has {len(encoded)} bytes; at most {encoding.MAX_BYTES} are read")
    return KeptPlan.of(encoded, found.estimate)


@functools.lru_cache(OUTLINES)
def _outline(repository: Repository, digest: str) -> Outline | None:
    return repository.outline(digest)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
