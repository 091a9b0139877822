"""The plans of a cluster as one node offers them: read from the shared database, and kept up to date from its feed.

One rule: an offer is looked up in memory, so the database being away costs nothing but news. What it says is proven
by whoever wrote it, and once more by the container that carries it out.

Plans are made for kinds of devices. A node whose kind has no costs in the database yet measures and publishes them;
one whose kind has takes those, so that all nodes of a kind share their plans.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from queue import SimpleQueue

from instar.plan.costs import Costs
from instar_controller.clients import plan_documents, plans
from instar_controller.clients.device_costs import COSTS, ClusterCosts
from instar_controller.clients.plan_documents import ACTION, PLAN, PlanDocuments
from instar_controller.cluster_ports import Documents
from instar_controller.engines.enrolment import Enrolment
from instar_controller.engines.feed import Batch, Feed
from instar_controller.engines.pauses import Pause
from instar_controller.engines.plan_cache import Lookups, Pair, PlanCache
from instar_controller.errors import StoreError
from instar_controller.policies.estimates import PlanOffer
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.values import JsonObject

logger = logging.getLogger(__name__)

CLOSE_S = 1.0  # for what is being read; the threads hold nothing that has to be given back
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class SharedPlansSettings:
    """How much is kept, and how the database is asked."""

    most_bytes: int = 256 << 20  # of plans in memory: some ten thousands
    poll_s: float = 20.0  # how long news is waited for at a time


DEFAULTS = SharedPlansSettings()


class SharedPlans:
    """A `ports.Plans`. To be started and closed.

    `device` is the kind of device that this node has. `measure` says what it costs, and may take minutes; it is
    called by a thread of its own, if nobody has published that yet. If it knows none either, nothing is offered.
    """

    def __init__(
        self,
        documents: Documents,
        *,
        device: str,
        measure: Callable[[], Costs | None],
        everywhere: str | None = None,
        settings: SharedPlansSettings = DEFAULTS,
    ) -> None:
        self._documents = documents
        self._repository = PlanDocuments(documents)
        self._published = ClusterCosts(documents)
        self._device = device
        self._measure = measure
        self._settings = settings
        self._missed: SimpleQueue[Pair | None] = SimpleQueue()
        self._cache = PlanCache(settings.most_bytes, self._missed.put)
        self._enrolment = Enrolment(self._cache, everywhere=everywhere)
        self._own: Costs | None = None  # that are published if nobody has; the thread's own, as is what follows
        self._is_measured = False
        self._costs: Costs | None = None  # that hold for this kind of device
        self._stopped = threading.Event()
        self._news = threading.Condition()
        self._is_up_to_date = False
        self._threads = [
            threading.Thread(target=self._follow, name="instar-shared-plans", daemon=True),
            threading.Thread(target=self._fetch_missed, name="instar-missed-plans", daemon=True),
        ]

    def start(self) -> None:
        """Begin to read, in the background."""
        for thread in self._threads:
            thread.start()

    def offer(self, donor: ContainerKey, job: ContainerKey) -> PlanOffer | None:
        """See `ports.Plans`."""
        return self._enrolment.offer(donor, job)

    @property
    def is_up_to_date(self) -> bool:
        """Whether everything that the database has was read, when it was asked last."""
        return self._is_up_to_date

    @property
    def plans(self) -> int:
        """How many plans are known, at hand or not."""
        return self._cache.known

    @property
    def at_hand(self) -> int:
        """How many of them are in memory."""
        return len(self._cache)

    @property
    def actions(self) -> int:
        """How many actions with models are known."""
        return self._enrolment.actions

    @property
    def lookups(self) -> Lookups:
        """How often a plan between two models was asked for, by what was found."""
        return self._cache.lookups

    def wait_for(self, predicate: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until something is so, which is looked at after all news; for tests and for who starts a node."""
        with self._news:
            return self._news.wait_for(predicate, timeout_s)

    def close(self) -> None:
        """Read no more. What was read is still offered."""
        self._stopped.set()
        self._missed.put(None)
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(CLOSE_S)

    def __repr__(self) -> str:
        return (
            f"<SharedPlans {self._enrolment.actions} actions, {self._cache.known} plans, {len(self._cache)} at hand>"
        )

    def _follow(self) -> None:
        pause = Pause(FIRST_PAUSE_S, LONGEST_PAUSE_S)
        feed = Feed(self._documents, None)
        while not self._stopped.is_set():
            try:
                if self._costs is None:
                    self._costs = self._agreed()
                    if self._costs is None:
                        self._stopped.wait(self._settings.poll_s)
                        continue
                    self._cache.clear()
                    feed = Feed(self._documents, None)
                self._read(feed, self._costs)
                if pause.succeeded():
                    logger.info("plans are read again")
            except StoreError as error:
                self._is_up_to_date = False
                if pause.failed():
                    logger.warning("plans are not read for now: %s", error)
                self._stopped.wait(pause.left_s)
            except Exception:
                logger.exception("plans are read again from the beginning")
                self._is_up_to_date, self._costs = False, None
                pause.failed()
                self._stopped.wait(pause.left_s)

    def _agreed(self) -> Costs | None:
        """The costs that hold for this kind of device; None if nobody knows any."""
        published = self._published.of(self._device if self._own is None else self._own.device)
        if published is not None:
            self._own = published
            return published
        if self._own is None and not self._is_measured:
            self._own, self._is_measured = self._measure(), True
            if self._own is None and not self._stopped.is_set():
                logger.warning("nobody knows yet what %r costs, so no plans are offered here", self._device)
        return None if self._own is None else self._published.publish(self._own)

    def _read(self, feed: Feed, costs: Costs) -> None:
        batch = feed.read(timeout_s=self._settings.poll_s if self._is_up_to_date else 0.0)
        self._take(batch, plans.key_of(costs))
        feed.advance(batch)
        self._is_up_to_date = batch.is_last
        told = COSTS + costs.device
        is_gone = batch.present is not None and told not in batch.present
        if (is_gone or any(change.id == told for change in batch.changes)) and not self._hold(costs):
            self._is_up_to_date, self._costs = False, None
        with self._news:
            self._news.notify_all()

    def _hold(self, costs: Costs) -> bool:
        """Whether these are the costs that are published."""
        return self._published.of(costs.device) == costs

    def _take(self, batch: Batch, costs_key: str) -> None:
        mine = f"{PLAN}{costs_key}:"
        named = [change.id for change in batch.changes if change.id.startswith((ACTION, mine))]
        found = self._documents.find(named)
        for id in named:
            if id.startswith(ACTION):
                self._enrol(id, found.get(id))
        pairs = [_pair(id, mine) for id in named if id.startswith(mine)]
        answers = plan_documents.answers(found, costs_key)
        for pair in pairs:
            self._cache.put(pair, answers.get(pair))
        if batch.present is not None:
            self._leave_only(batch.present, mine)

    def _enrol(self, id: str, document: JsonObject | None) -> None:
        said = None if document is None else plan_documents.enrolled(document)
        if said is None:
            self._enrolment.strike(id.removeprefix(ACTION))
            return
        entry, located = said
        self._enrolment.enrol(entry)
        if entry.location is not None and located is not None:
            self._enrolment.locate(entry.location, located)

    def _leave_only(self, present: Collection[str], mine: str) -> None:
        """Everything that there is was read: what was not among it is no more."""
        for entry in self._enrolment.entries:
            if ACTION + entry.action not in present:
                self._enrolment.strike(entry.action)
        self._cache.leave_only({_pair(id, mine) for id in present if id.startswith(mine)})

    def _fetch_missed(self) -> None:
        while (pair := self._missed.get()) is not None and not self._stopped.is_set():
            costs = self._costs
            if costs is None:
                self._cache.miss(pair)
                continue
            try:
                self._cache.put(pair, self._repository.find(*pair, plans.key_of(costs)))
            except StoreError as error:
                logger.info("a plan that did not fit into memory cannot be read now: %s", error)
                self._cache.miss(pair)


def _pair(id: str, prefix: str) -> Pair:
    source, _, target = id.removeprefix(prefix).partition(":")
    return source, target
