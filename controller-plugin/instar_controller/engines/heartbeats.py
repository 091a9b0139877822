"""The heart of a node: says each second that it lives and what it has, and knows whether it may act.

One rule: a node that cannot prove that it was heard does nothing. Dispatchers give a silent node's work to others
after `dead_s`; long before, after `fence_s`, the node itself has stopped. It is heard again under another
incarnation, and what was sent to the old one is not its business any more. Both wait by their own clock from the same
heartbeat on, the node from when it sent it: clocks need not agree, only run alike.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from itertools import islice

from instar_controller.cluster_ports import Bus, TopicSettings
from instar_controller.engines import reports
from instar_controller.engines.ledger import Ledger
from instar_controller.engines.topics import Topics
from instar_controller.policies.nodes import Heartbeat, Member, Stage

logger = logging.getLogger(__name__)

MOST_WARM = 2000  # functions that a heartbeat names: it has to fit into a message


RETENTION_MS = 3_600_000  # of heartbeats: a dispatcher that was away for longer has forgotten the dead
# A broker forgets whole segments: in OpenWhisk's of 512 MB there would be days of heartbeats, which a new dispatcher
# would have to read.
SEGMENT_BYTES, RETENTION_BYTES = 8 << 20, 64 << 20


def topic(invoker: TopicSettings) -> TopicSettings:
    """How the topic of heartbeats, or of a dispatcher's reports, is made, where an invoker's is made like this."""
    return replace(
        invoker,
        partitions=1,
        retention_ms=RETENTION_MS,
        retention_bytes=min(RETENTION_BYTES, invoker.retention_bytes),
        segment_bytes=min(SEGMENT_BYTES, invoker.segment_bytes),
    )


@dataclass(frozen=True, slots=True)
class NodeState:
    """What a node has."""

    memory_mb: int
    kinds: frozenset[str] | None  # that it can run; None: all
    warm: Mapping[str, int]  # how many warm containers each function has, by `policies.dispatch.function`


@dataclass(frozen=True, slots=True)
class HeartSettings:
    """Times in seconds."""

    beat_s: float = 1.0
    fence_s: float = 5.0  # well below the dispatchers' `dead_s`: what was begun before must have had its effect


class Heart:
    """One node's. `start` it once the ledger knows where the node begins; `close` it after the node has drained."""

    def __init__(
        self,
        bus: Bus,
        ledger: Ledger,
        topics: Topics,
        name: str,
        *,
        describe: Callable[[], NodeState],
        is_quiet: Callable[[], bool] = lambda: True,
        settings: HeartSettings | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`is_quiet`: whether all answers that were given to the bus are there or will never be. A new life begins
        only then, so that whoever hears of it finds the old one's answers."""
        self._bus = bus
        self._ledger = ledger
        self._topics = topics
        self._name = name
        self._describe = describe
        self._is_quiet = is_quiet
        self._settings = settings or HeartSettings()
        self._now = now
        self._lock = threading.Lock()  # for what follows
        self._incarnation = secrets.token_hex(6)
        self._began: int | None = None  # where this life began in the node's topic
        # When the last heartbeat of this life was sent that the bus has taken, or may have: of the first one that is
        # assumed, since whoever has heard it waits from then on, and may have sent work before the bus tells us.
        self._heard_s: float | None = None
        self._is_doomed = False
        self._stage = Stage.WORKING
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._beat_on, name="instar-heart", daemon=True)

    @property
    def incarnation(self) -> str:
        with self._lock:
            return self._incarnation

    def may_act(self, incarnation: str) -> bool:
        """Whether something that was sent to this life of the node may be begun, or answered, now."""
        with self._lock:
            if incarnation != self._incarnation or self._heard_s is None:
                return False
            # A life that has let something lie is over, even if it turns out that it was heard.
            self._is_doomed = self._is_doomed or not self._was_heard_lately()
            return not self._is_doomed

    def start(self) -> None:
        """Begin to beat. To be called before the node reads anything."""
        self.begin()
        self._thread.start()

    def begin(self) -> None:
        """The first life begins where the ledger stands: what its node reads before the first heartbeat, and finds to
        be for an earlier life, that one has not taken over."""
        page = self._ledger.page(self.incarnation)
        with self._lock:
            self._began = page.position

    @property
    def is_enabled(self) -> bool:
        """Whether the node asks for work."""
        return self._stage is Stage.WORKING

    def enable(self) -> None:
        """Ask for work."""
        self._turn(Stage.WORKING)

    def disable(self) -> None:
        """Ask for no more work."""
        self._turn(Stage.LEAVING)

    def close(self) -> None:
        """Say that the node has gone, and no more. Nothing may be begun or answered from now on."""
        self._is_over.set()
        if not self._thread.is_alive():
            return  # nobody ever heard of it
        self._thread.join()
        self.say_goodbye()

    def say_goodbye(self) -> None:
        """The last heartbeat."""
        with self._lock:
            self._stage = Stage.GONE
        self.beat()
        with self._lock:
            self._is_doomed = True

    def beat(self) -> None:
        """One heartbeat; in a new life if the last one was not heard for too long."""
        with self._lock:
            if self._is_doomed or (self._heard_s is not None and not self._was_heard_lately()):
                self._is_doomed = True
                if not self._is_quiet():
                    return
                logger.warning("nobody hears this node; as %s it does nothing any more", self._incarnation)
                self._incarnation, self._is_doomed = secrets.token_hex(6), False
                self._began = self._heard_s = None
            page, sent_s = self._ledger.page(self._incarnation), self._now()
            if self._began is None:
                self._began = page.position
            if self._heard_s is None:
                self._heard_s = sent_s
            member, began, stage = Member(self._name, self._incarnation), self._began, self._stage
        state = self._describe()
        beat = Heartbeat(
            member=member,
            memory_mb=state.memory_mb,
            kinds=state.kinds,
            warm=dict(islice(state.warm.items(), MOST_WARM)),
            busy_mb=page.busy_mb,
            began=began,
            position=page.position,
            unfinished=page.unfinished,
            stage=stage,
        )
        sent = self._bus.send(self._topics.nodes, reports.encode_heartbeat(beat))
        sent.add_done_callback(lambda future: self._confirm(member, sent_s, future))
        self._ledger.tell()

    def _turn(self, stage: Stage) -> None:
        with self._lock:
            self._stage = stage
        if self._thread.is_alive():  # else the first heartbeat will say it
            self.beat()

    def _confirm(self, member: Member, sent_s: float, sent: Future[None]) -> None:
        failure = sent.exception()
        if failure is not None:
            logger.info("a heartbeat of %s was not heard: %s", member, failure)
            return
        with self._lock:
            if member.incarnation == self._incarnation:
                self._heard_s = sent_s if self._heard_s is None else max(self._heard_s, sent_s)

    def _was_heard_lately(self) -> bool:
        return self._heard_s is not None and self._now() - self._heard_s < self._settings.fence_s

    def _beat_on(self) -> None:
        while not self._is_over.is_set():
            try:
                self.beat()
            except Exception:  # a node without a heart would run on, and be given up by everybody
                logger.exception("a heartbeat failed")
            self._is_over.wait(self._settings.beat_s)
