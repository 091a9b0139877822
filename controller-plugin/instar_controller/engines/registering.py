"""One turn of registering a cluster's models: from where the last turn ended, until somebody else's begins.

One rule: what is done is kept in this order: models, roll, position. So a turn that ends anywhere leaves a position
before which everything is kept; what lies behind it is done again, which changes nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

from instar_controller.clients.device_costs import ClusterCosts
from instar_controller.clients.models import Surroundings
from instar_controller.clients.notes import Notes
from instar_controller.clients.plan_documents import PlanDocuments
from instar_controller.clients.roll import Roll
from instar_controller.cluster_ports import Entities
from instar_controller.engines.feed import Feed
from instar_controller.engines.follower import Planned
from instar_controller.engines.registrar import Read, Registrar
from instar_controller.engines.registries import Registries
from instar_controller.engines.whisk_actions import WhiskActions
from instar_controller.whisk.manifest import Manifest

logger = logging.getLogger(__name__)

FEED = "feed:"


@dataclass(frozen=True, slots=True)
class Ground:
    """What a turn works on. `feed` names the database of actions; actions of these `kinds` have models."""

    entities: Entities
    repository: PlanDocuments
    notes: Notes
    costs: ClusterCosts
    feed: str
    manifest: Manifest
    kinds: Collection[str]
    surroundings: Surroundings
    processes: int


class Turn:
    """For one thread. To be begun and closed.

    `is_held` says whether it still is this one; it is asked before anything is kept that others might keep, too.
    `on_planned` is told by threads of its own.
    """

    def __init__(self, ground: Ground, is_held: Callable[[], bool], on_planned: Callable[[Planned], None]) -> None:
        self._ground = ground
        self._is_held = is_held
        self._on_planned = on_planned
        self._found: deque[Read] = deque()  # what lies elsewhere; a thread of its own has read it
        self.registries = Registries(ground.repository, processes=ground.processes, on_idle=self._tell)
        self._registrar: Registrar | None = None
        self._feed: Feed | None = None
        self._actions: WhiskActions | None = None
        self._kept: Roll | None = None
        self._position: tuple[str, str | None] | None = None  # as it is kept, and that note's revision
        self._is_caught_up = False
        self._is_tidy = False
        self._is_news = True  # since `on_planned` was told

    def begin(self) -> None:
        """Take up what the last turn has left. Raises `StoreError`."""
        ground = self._ground
        roll = ground.repository.roll()
        position = self._read_position() if roll is not None else None
        self.registries.plan_for(ground.costs.all().values())
        self._registrar = Registrar(self.registries, ground.surroundings, roll=roll, on_read=self._found.append)
        self._registrar.start()
        self._actions = WhiskActions(ground.entities, self._registrar, manifest=ground.manifest, kinds=ground.kinds)
        self._feed = Feed(ground.entities, position)
        if roll is not None and position is not None:
            self._actions.restore(roll)

    def step(self, *, timeout_s: float) -> None:
        """See to what has changed; wait so long if that is nothing. Raises `StoreError`, or `ConflictError` if
        somebody else keeps a position; then it can be called again."""
        assert self._feed is not None and self._actions is not None and self._registrar is not None
        self.registries.plan_for(self._ground.costs.all().values())
        batch = self._feed.read(timeout_s=timeout_s if self._is_caught_up else 0.0)
        self._is_caught_up &= not batch.changes  # until what they mean is kept
        self._actions.take(batch.changes)
        if batch.present is not None:
            self._actions.strike_others(batch.present)
        self._locate(self._registrar)
        roll = self._roll(self._registrar)
        self._is_news |= bool(batch.changes)
        if not self._is_held():
            return
        if roll != self._kept:
            self._ground.repository.put_roll(roll)
            self._kept = roll
        self._feed.advance(batch)
        if not self._feed.is_anew:  # else a turn that follows could not tell what is no more
            self._keep_position(self._feed.position)
        self._is_caught_up = batch.is_last
        if self._is_caught_up:
            self._tidy_up()
            self._tell()

    def close(self) -> None:
        """Leave it as it is. Waits for pairs that are being planned."""
        self._is_caught_up = False
        if self._registrar is not None:
            self._registrar.close()
        self.registries.close()

    def _read_position(self) -> str | None:
        note = self._ground.notes.read(FEED + self._ground.feed)
        if note is None:
            self._position = ("", None)
            return None
        position = note.body.get("position")
        self._position = (str(position), note.revision)
        return position if isinstance(position, str) else None

    def _keep_position(self, position: str) -> None:
        if self._position is None:
            self._read_position()
        assert self._position is not None
        kept, revision = self._position
        if kept == position:
            return
        self._position = None  # nobody knows, if this fails
        body = {"type": "feed", "position": position}
        self._position = (position, self._ground.notes.write(FEED + self._ground.feed, body, replaces=revision))

    def _roll(self, registrar: Registrar) -> Roll:
        # There is a plan at the costs of each kind of device, so the roll names none.
        return Roll("", "", registrar.enrolment.entries, registrar.enrolment.located)

    def _locate(self, registrar: Registrar) -> None:
        while self._found:
            registrar.locate(self._found[0])
            self._found.popleft()
            self._is_news = True

    def _tidy_up(self) -> None:
        """Once a turn: what no action's model needs goes."""
        keys = self.registries.costs_keys
        if not self._is_tidy and keys:  # without any, all plans would seem to be of no use
            self._is_tidy = True
            gone = self._ground.repository.collect(models=self.registries.models, costs=keys)
            if gone:
                logger.info("%s models and plans went that nothing needs", gone)

    def _tell(self) -> None:
        """Called by threads of the registries, too."""
        if self._is_caught_up and self._is_news and self._registrar is not None and self.registries.is_idle():
            self._is_news = False
            actions = self._registrar.enrolment.actions
            self._on_planned(Planned(actions, len(self.registries.models), self.registries.plans))
