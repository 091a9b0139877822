"""Hears the nodes.

One rule: a node is dead only if everything was heard that it could have said. So the dispatcher says something itself
now and then, and when it hears that, it has heard whatever was said before: by that time nodes are judged, and not by
the time of day. A dispatcher that stood still, or a bus that did, takes nobody for dead.
"""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
from collections.abc import Callable

from instar_controller.cluster_ports import Bus, From, Position, Subscription, TopicSettings
from instar_controller.engines import envelopes, heartbeats, reports
from instar_controller.engines.board import Board
from instar_controller.engines.envelopes import Marker
from instar_controller.errors import MalformedError
from instar_controller.policies.nodes import Patience

logger = logging.getLogger(__name__)

BATCH = 1000
MOST_TICKS = 60  # of our own, that we have not heard yet


class Listening:
    """One dispatcher's. `changed` guards the board, and is told when there is news. For one thread at a time."""

    def __init__(
        self,
        bus: Bus,
        topic: str,
        group: str,
        board: Board,
        changed: threading.Condition,
        *,
        patience: Patience,
        tick_s: float,
        commit_s: float,
        now: Callable[[], float],
    ) -> None:
        self._bus = bus
        self._topic = topic
        self._group = group
        self._board = board
        self._changed = changed
        self._patience = patience
        self._tick_s = tick_s
        self._commit_s = commit_s
        self._now = now
        self._reader: Subscription | None = None
        self._ticks: dict[str, float] = {}  # by token, when they were sent
        self._ticked_s = float("-inf")
        self._heard_until_s = float("-inf")  # everything that was said before
        self._since_s = float("inf")  # without a gap
        self._committed_s = float("-inf")

    def open(self, invoker: TopicSettings) -> None:
        """Raises `BusError`; then it may be called again."""
        if self._reader is None:
            self._bus.ensure_topic(self._topic, heartbeats.topic(invoker))
            self._reader = self._bus.subscribe(self._topic, self._group, begin=From.EARLIEST)

    def listen(self, *, timeout_s: float) -> None:
        """Raises `BusError`."""
        assert self._reader is not None, "it is open"
        now_s = self._now()
        if now_s - self._ticked_s >= self._tick_s:
            self._tick(now_s)
        for message in self._reader.poll(timeout_s=timeout_s, most=BATCH):
            try:
                news = reports.parse_news(message.value)
            except MalformedError as error:
                logger.error("message %s of %s is thrown away: %s", message.offset, self._topic, error)
                continue
            with self._changed:
                if isinstance(news, Marker):
                    self._hear_tick(news)
                else:
                    # At first there are old ones, of nodes that may be dead by now: they get no work for them.
                    is_old = self._heard_until_s == float("-inf")
                    heard_s = self._now() - (self._patience.silent_s if is_old else 0.0)
                    self._board.heard(news, message.offset, heard_s, is_old=is_old)
                self._changed.notify_all()
        if now_s - self._committed_s >= self._commit_s:
            self._commit(self._reader, now_s)

    def close(self) -> None:
        if self._reader is not None:
            self._reader.close()

    def _tick(self, now_s: float) -> None:
        self._ticked_s = now_s
        token = secrets.token_hex(8)
        self._ticks[token] = now_s
        for old in list(itertools.islice(self._ticks, max(0, len(self._ticks) - MOST_TICKS))):
            del self._ticks[old]
        self._bus.send(self._topic, envelopes.mark(token))

    def _hear_tick(self, marker: Marker) -> None:
        """It may be another dispatcher's, or of an earlier run."""
        sent_s = self._ticks.pop(marker.token, None)
        if sent_s is None:
            return
        if sent_s - self._heard_until_s > 3 * self._tick_s:  # nodes may not have been heard meanwhile
            self._since_s = self._now()
        self._heard_until_s = max(self._heard_until_s, sent_s)
        self._board.judge(now_s=self._heard_until_s, listening_since_s=self._since_s)

    def _commit(self, reader: Subscription, now_s: float) -> None:
        """So that the next run hears the last words of all whose work is not settled."""
        with self._changed:
            offsets = [life.beat_offset for life in self._board.lives.values()]
        if offsets and None not in offsets:
            reader.commit({0: Position(min(offset for offset in offsets if offset is not None))})
        self._committed_s = now_s
