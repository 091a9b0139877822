"""Registers the models of a cluster's actions and has plans made between them: of several dispatchers, one at a time.

One rule: whoever holds the claim does it, and keeps everything in the shared database: models, roll, plans, and how
far the feed was read. So nothing is lost with a process, what was done is not done again, and nodes find there what
came of it. Nothing here is on the way of a request.

While a database does not answer it waits, and goes on from the same place. Who cannot renew the claim in time stops,
and begins like anybody else once it has the claim again.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass

from instar_controller.clients.device_costs import ClusterCosts
from instar_controller.clients.models import Surroundings
from instar_controller.clients.notes import Notes
from instar_controller.clients.plan_documents import PlanDocuments
from instar_controller.cluster_ports import Documents, Entities
from instar_controller.engines.effort import Effort
from instar_controller.engines.follower import Planned
from instar_controller.engines.pauses import Pause
from instar_controller.engines.registering import Ground, Turn
from instar_controller.engines.tenure import Candidate, Tenure
from instar_controller.errors import ConflictError, StoreError
from instar_controller.whisk.manifest import Manifest

logger = logging.getLogger(__name__)

CLAIM = "registry"


@dataclass(frozen=True, slots=True)
class RegistrySettings:
    """How the work is done."""

    processes: int = 1  # that plan at a time, for each kind of device; they let every other process go first
    term_s: float = 15.0  # after which another takes over from one that has died
    poll_s: float = 3.0  # how long a change is waited for at a time: new costs are seen in between, and the end
    first_pause_s: float = 1.0  # after a failure of a database; doubled each time …
    longest_pause_s: float = 30.0  # … up to this


DEFAULTS = RegistrySettings()


class SharedRegistry:
    """One process's share in it. To be started and closed.

    `owner` is its name, for people. `feed` names the database of actions, those of these `kinds` have models.
    `on_planned` is told, by threads of its own, each time that everything which has happened is planned for.
    """

    def __init__(
        self,
        entities: Entities,
        documents: Documents,
        *,
        owner: str,
        feed: str,
        manifest: Manifest,
        kinds: Collection[str],
        surroundings: Surroundings,
        settings: RegistrySettings = DEFAULTS,
        on_planned: Callable[[Planned], None] = lambda _: None,
    ) -> None:
        notes = Notes(documents)
        self._ground = Ground(
            entities,
            PlanDocuments(documents),
            notes,
            ClusterCosts(documents),
            feed,
            manifest,
            frozenset(kinds),
            surroundings,
            settings.processes,
        )
        self._settings = settings
        self._on_planned = on_planned
        self._candidate = Candidate(notes, CLAIM, owner=owner, term_s=settings.term_s)
        self._pause = Pause(settings.first_pause_s, settings.longest_pause_s)
        self._stopped = threading.Event()
        self._is_working = False
        self._counting = threading.Lock()  # for what follows
        self._turn: Turn | None = None
        self._past = Effort()  # in earlier turns
        self._thread = threading.Thread(target=self._run, name="instar-shared-registry", daemon=True)

    @property
    def is_working(self) -> bool:
        """Whether it is this process's turn."""
        return self._is_working

    @property
    def computed(self) -> int:
        """How many pairs were planned by this process."""
        return self.effort.computed

    @property
    def effort(self) -> Effort:
        """What was planned by this process so far."""
        with self._counting:
            return self._past if self._turn is None else self._past + self._turn.registries.effort

    def start(self) -> None:
        """Begin, in a thread of its own."""
        self._thread.start()

    def close(self) -> None:
        """Do no more, and let another go on at once."""
        self._stopped.set()
        if self._thread.ident is not None:
            self._thread.join(self._settings.poll_s + self._settings.term_s)

    def __repr__(self) -> str:
        return f"<SharedRegistry {'at work' if self.is_working else 'waiting for its turn'}>"

    def _run(self) -> None:
        while (tenure := self._candidate.obtain(self._stopped)) is not None:
            try:
                self._work(tenure)
            except StoreError as error:
                self._failed(error)
            except Exception:
                self._pause.failed()
                logger.exception("models cannot be registered now")
            finally:
                tenure.give_back()
            self._stopped.wait(self._pause.left_s)

    def _work(self, tenure: Tenure) -> None:
        """As long as it is held. Raises `StoreError` if it cannot begin."""
        turn = Turn(self._ground, lambda: tenure.is_held and not self._stopped.is_set(), self._on_planned)
        with self._counting:
            self._turn = turn
        try:
            with contextlib.closing(turn):
                turn.begin()
                logger.info("this process registers the models of actions now")
                self._is_working = True
                try:
                    while tenure.is_held and not self._stopped.is_set():
                        self._step(turn)
                finally:
                    self._is_working = False
        finally:
            with self._counting:
                self._turn = None
                self._past += turn.registries.effort

    def _step(self, turn: Turn) -> None:
        try:
            turn.step(timeout_s=self._settings.poll_s)
            if self._pause.succeeded():
                logger.info("models are registered again")
        except ConflictError as error:  # read anew what was changed, if it is still ours to change
            logger.info("%s", error)
        except StoreError as error:
            self._failed(error)
            self._stopped.wait(self._pause.left_s)

    def _failed(self, error: StoreError) -> None:
        if self._pause.failed():
            logger.warning("models are not registered for now: %s", error)
