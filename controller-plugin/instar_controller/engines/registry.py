"""The registered models, and the plans between them: made when a model is registered, answered from memory.

One rule: who asks for a plan never waits. `answer_for` looks into a dictionary; a thread of the registry's own reads
the repository and hands what is not there to a pool of processes, which exist only while there is something to plan.
A process that dies takes nothing with it: what it had is planned again by another. While the repository does not
answer nothing is planned, and what it did not take is offered to it again.

A model has a plan to itself, too: two actions may have the same one. It does not decide when a plan is worth its
while: the planner has, with the costs of the node's device.
"""

from __future__ import annotations

import logging
import multiprocessing
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue

from instar import package
from instar.package import Package
from instar.plan.costs import Costs
from instar.plan.plans import LoadInstead
from instar_controller.clients import plans
from instar_controller.clients.plans import Answer, KeptPlan
from instar_controller.engines import planning
from instar_controller.engines.effort import Effort
from instar_controller.engines.pauses import Pause
from instar_controller.engines.planning import Failed, Lost, Pair, Result, Results, Unkept, Unread
from instar_controller.engines.repository import Repository
from instar_controller.errors import StoreError

logger = logging.getLogger(__name__)

BATCH = 16  # pairs that a process plans at a time: some tens of milliseconds, and little to do again
TRIES = 3  # a pair that may have ended so many processes is left without a plan
LOOKED_UP = 256  # pairs that the repository is asked for at a time: one question over the network
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0  # before a repository is asked again that did not answer


@dataclass(slots=True)
class _Model:
    model_json: bytes
    names: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    """Pairs that a process of this pool plans, if one could be made."""

    pairs: Sequence[Pair]
    pool: ProcessPoolExecutor | None
    future: Future[Results]


class Registry:
    """Models by name, plans by the digests of both models. Every method may be called from any thread.

    `processes` plan at a time. `on_idle` is called by the registry's thread whenever it has nothing more to do.
    `remember` says what of an answer is kept in memory, and answered. The registry is to be closed.
    """

    def __init__(
        self,
        repository: Repository,
        costs: Costs,
        *,
        processes: int = 1,
        on_idle: Callable[[], None] = lambda: None,
        remember: Callable[[Answer], Answer] = lambda answer: answer,
    ) -> None:
        self._repository = repository
        self._processes = processes
        self._on_idle = on_idle
        self._remember = remember
        self.costs = costs
        self.costs_key = plans.key_of(costs)
        self._changed = threading.Condition()  # guards all of these but for looking into `_answers`
        self._names: dict[str, str] = {}
        self._models: dict[str, _Model] = {}
        self._answers: dict[Pair, Answer] = {}
        self._owed: OrderedDict[Pair, int] = OrderedDict()  # nobody has begun with them; how many tries have failed
        self._begun: dict[Pair, int] = {}
        self._absent: deque[Pair] = deque()  # begun, and not in the repository; the thread's own, as what follows
        self._unkept: dict[Pair, Answer] = {}
        self._reading = Pause(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._writing = Pause(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        self._effort = Effort()
        self._pool: ProcessPoolExecutor | None = None  # and what comes out of `_events` is the thread's, too
        self._events: SimpleQueue[_Batch | None] = SimpleQueue()  # None: look around
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="instar-registry", daemon=True)
        self._thread.start()

    @property
    def models(self) -> frozenset[str]:
        """Digests of the registered models."""
        with self._changed:
            return frozenset(self._models)

    @property
    def effort(self) -> Effort:
        """What was planned so far."""
        return self._effort

    @property
    def computed(self) -> int:
        """How many pairs were planned here, rather than found in the repository."""
        return self._effort.computed

    @property
    def plans(self) -> int:
        """For how many pairs there is a plan."""
        with self._changed:
            return sum(isinstance(answer, KeptPlan) for answer in self._answers.values())

    def register(self, name: str, model: Package) -> str:
        """Have plans made between this model and all others, both ways; returns its digest.

        A name that is taken is given to this model. Takes milliseconds: no request may wait for it. Raises
        `StoreError` if the repository cannot be written; then nothing has changed.
        """
        digest, model_json = model.digest, package.encode(model)
        with self._changed:
            is_new = digest not in self._models
        if is_new:
            self._repository.put_model(digest, model_json)
        self.enter(name, digest, model_json)
        return digest

    def adopt(self, name: str, digest: str) -> bool:
        """Register a model that the repository has from an earlier time; False, and nothing done, if it has not."""
        model_json = self._repository.model_json(digest)
        if model_json is None:
            return False
        self.enter(name, digest, model_json)
        return True

    def enter(self, name: str, digest: str, model_json: bytes) -> None:
        """Register a model that the repository has, with what `package.encode` wrote of it."""
        with self._changed:
            if self._names.get(name) != digest:
                self._forget(name)
                self._names[name] = digest
                self._add(digest, model_json)
                self._models[digest].names.add(name)
        self._events.put(None)

    def unregister(self, name: str) -> None:
        """Forget a name, and its model and plans if no other name has it. What is kept on disk stays there."""
        with self._changed:
            self._forget(name)
        self._events.put(None)

    def answer_for(self, source: str, target: str) -> Answer | None:
        """The proven plan by which a live `source` becomes `target`, or that loading is no slower.

        None if that is not known yet, or one of these digests is not a registered model's.
        """
        return self._answers.get((source, target))

    def wait(self, timeout_s: float) -> bool:
        """Wait until nothing is left to plan; False if that took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._owed and not self._begun, timeout_s)

    def close(self) -> None:
        """Plan no more, and end the processes when they have planned the pairs that they have begun with.

        What was planned is still answered.
        """
        self._is_closed = True
        self._events.put(None)
        self._thread.join()

    def __repr__(self) -> str:
        with self._changed:
            left = len(self._owed) + len(self._begun)
            return f"<Registry {len(self._models)} models, {len(self._answers)} answers, {left} pairs to plan>"

    def _add(self, digest: str, model_json: bytes) -> None:
        if digest in self._models:
            return
        self._models[digest] = _Model(model_json)
        for pair in self._pairs_of(digest):
            if pair not in self._begun:  # else the model was here before, and is in time for the answer
                self._owed[pair] = 0

    def _forget(self, name: str) -> None:
        digest = self._names.pop(name, None)
        if digest is None:
            return
        model = self._models[digest]
        model.names.remove(name)
        if model.names:
            return
        for pair in self._pairs_of(digest):
            self._answers.pop(pair, None)
            self._owed.pop(pair, None)
        del self._models[digest]
        self._changed.notify_all()

    def _pairs_of(self, digest: str) -> list[Pair]:
        """All pairs that a registered model is in, each once."""
        others = [other for other in self._models if other != digest]
        return [(digest, digest), *((digest, other) for other in others), *((other, digest) for other in others)]

    def _run(self) -> None:
        """The registry's thread."""
        running = 0
        while True:
            self._keep_unkept()
            while running < self._processes and not self._is_closed and (pairs := self._next_pairs()):
                self._submit(pairs)
                running += 1
            if self._pool is not None and not running:
                self._pool.shutdown()
                self._pool = None
            if self._is_closed and not running:
                return
            if not running:
                self._on_idle()
            batch = self._next_batch(can_plan=running < self._processes)
            if batch is not None:
                running -= 1
                self._settle(batch)

    def _next_batch(self, *, can_plan: bool) -> _Batch | None:
        """The next one that has ended; None if it is time to look around."""
        pauses_s: list[float] = []
        if self._unkept and not self._is_closed:
            pauses_s.append(self._writing.left_s)
        if self._owed and can_plan and not self._is_closed:
            pauses_s.append(self._reading.left_s)
        try:
            return self._events.get(timeout=min(pauses_s, default=None))
        except Empty:
            return None

    def _not_read(self, reason: object) -> None:
        if self._reading.failed():
            logger.warning("nothing is planned for now: %s", reason)

    def _not_kept(self, reason: object) -> None:
        if self._writing.failed():
            logger.warning("plans are used, but not kept for now: %s", reason)

    def _next_pairs(self) -> list[Pair]:
        """Pairs that are not in the repository, and have been begun now."""
        if self._reading.left_s:
            return []
        while len(self._absent) < BATCH and not self._is_closed and (pairs := self._begin()):
            try:
                found = self._repository.find_all(pairs, self.costs_key)
            except StoreError as error:
                self._not_read(error)
                self._put_back(pairs)
                return []
            if len(found) == len(pairs):
                self._reading.succeeded()
            for pair in pairs:
                if pair in found:
                    self._spend(Effort(found=1))
                    self._keep(pair, found[pair])
                else:
                    self._absent.append(pair)
        return [self._absent.popleft() for _ in range(min(BATCH, len(self._absent)))]

    def _begin(self) -> list[Pair]:
        with self._changed:
            count = min(LOOKED_UP, len(self._owed))
            begun = [self._owed.popitem(last=False) for _ in range(count)]
            self._begun.update(begun)
        return [pair for pair, _ in begun]

    def _put_back(self, pairs: Iterable[Pair]) -> None:
        """Owe pairs again with which nobody could begin."""
        with self._changed:
            for pair in pairs:
                tries = self._begun.pop(pair)
                if self._is_wanted(pair):
                    self._owed[pair] = tries
            self._changed.notify_all()

    def _keep_unkept(self) -> None:
        """Offer to the repository once more what it did not take."""
        if not self._unkept or self._writing.left_s or self._is_closed:
            return
        try:
            for pair, answer in list(self._unkept.items()):
                if pair in self._answers:
                    self._repository.put(*pair, self.costs_key, answer)
                del self._unkept[pair]
            self._writing.succeeded()
        except StoreError as error:
            self._not_kept(error)

    def _submit(self, pairs: Sequence[Pair]) -> None:
        try:
            if self._pool is None:
                # Not forked: this process has threads, and they may hold locks.
                context = multiprocessing.get_context("spawn")
                self._pool = ProcessPoolExecutor(self._processes, mp_context=context, initializer=planning.begin)
            future = self._pool.submit(planning.plan, self._repository, self.costs, self.costs_key, pairs)
        except (BrokenProcessPool, OSError) as error:  # it broke since the last one was handed in, or cannot begin
            future = Future()
            future.set_exception(error)
        batch = _Batch(pairs, self._pool, future)
        future.add_done_callback(lambda _: self._events.put(batch))

    def _settle(self, batch: _Batch) -> None:
        error = batch.future.exception()
        if error is None:
            done = batch.future.result()
            results = done.results
            self._spend(Effort(planning_s=done.planning_s))
            if not any(isinstance(result, Unread) for result in results):
                self._reading.succeeded()
            for digest in {result.digest for result in results if isinstance(result, Lost)}:
                self._restore(digest)
            for pair, result in zip(batch.pairs, results, strict=True):
                self._take(pair, result)
            return
        logger.warning("planning %s pairs ended with %s: %s", len(batch.pairs), type(error).__name__, error)
        # Planning does not raise, so it is the pool that is broken.
        if self._pool is not None and batch.pool is self._pool:
            self._pool.shutdown(wait=False)
            self._pool = None
        for pair in batch.pairs:
            self._try_again(pair, str(error))

    def _take(self, pair: Pair, result: Result) -> None:
        match result:
            case KeptPlan() | LoadInstead():
                self._spend(_computed(result))
                self._keep(pair, result)
            case Unkept(answer, reason):
                self._spend(_computed(answer))
                self._keep(pair, answer)
                self._unkept[pair] = answer
                self._not_kept(reason)
            case Unread(reason):
                self._put_back([pair])
                self._not_read(reason)
            case Lost(digest):
                self._try_again(pair, f"the model {digest} cannot be read")
            case Failed(reason):
                self._give_up(pair, reason)

    def _keep(self, pair: Pair, answer: Answer) -> None:
        with self._changed:
            del self._begun[pair]
            if self._is_wanted(pair):
                self._answers[pair] = self._remember(answer)
            self._changed.notify_all()

    def _restore(self, digest: str) -> None:
        with self._changed:
            model = self._models.get(digest)
        if model is None:
            return
        try:
            self._repository.put_model(digest, model.model_json)
        except StoreError as error:
            self._not_read(error)

    def _try_again(self, pair: Pair, reason: str) -> None:
        with self._changed:
            tries = self._begun[pair] + 1
            if not self._is_wanted(pair):
                del self._begun[pair]
                self._changed.notify_all()
                return
            if tries < TRIES:
                self._owed[pair] = tries
                del self._begun[pair]
                return
        self._give_up(pair, reason)

    def _give_up(self, pair: Pair, reason: str) -> None:
        logger.error("there is no plan from %s to %s, so that is loaded: %s", *pair, reason)
        self._spend(Effort(failed=1))
        with self._changed:
            del self._begun[pair]
            self._changed.notify_all()

    def _spend(self, effort: Effort) -> None:
        """For the registry's thread only."""
        self._effort += effort

    def _is_wanted(self, pair: Pair) -> bool:
        return all(digest in self._models for digest in pair)


def _computed(answer: Answer) -> Effort:
    return Effort(planned=1) if isinstance(answer, KeptPlan) else Effort(instead=1)
