"""A node among those of a cluster's dispatchers: what is for it, whether it may be begun, and when it is done.

One rule, and it is about order: first the position in the node's topic is committed, then the work is entered in the
book, then the node asks itself whether it may still act, then it begins. So whatever was begun lies before the
position that dispatchers go by, and what they give to others was not begun.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future

from instar_controller.cluster_ports import Bus, From, Message, Position, Subscription, TopicSettings
from instar_controller.engines import envelopes, heartbeats
from instar_controller.engines.envelopes import Marker
from instar_controller.engines.heartbeats import Heart, HeartSettings, NodeState
from instar_controller.engines.ledger import Dispatched, Ledger
from instar_controller.engines.naming import Name
from instar_controller.engines.sources import Assignment
from instar_controller.engines.topics import Topics


class Membership:
    """The source of a node's work (`sources.Source`): its own topic, that dispatchers fill.

    `answers` is the bus that the node's answers go out by. It lives from `begin` on; `close` it after the node.
    """

    runs_again = False  # a dispatcher sees to what was open at a crash

    def __init__(
        self,
        bus: Bus,
        topics: Topics,
        name: str,
        *,
        describe: Callable[[], NodeState],
        owner: str | None = None,
        settings: HeartSettings | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`describe` is asked with each heartbeat. `owner` says whose the name is (`naming.Name`); None: a new one's.
        Raises `SettingsError` for a name that no topic can have.
        """
        settings = settings or HeartSettings()
        self.topic = self.group = topics.node(name)
        self.answers = Answers(bus)
        self._bus = bus
        self._topics = topics
        self._describe = describe
        self._ledger = Ledger(bus, topics, name)
        self._name = Name(
            bus, topics, name, owner=owner or secrets.token_hex(16), silence_s=settings.fence_s, now=now
        )
        self.heart = Heart(
            bus,
            self._ledger,
            topics,
            name,
            describe=self._state,
            is_quiet=lambda: self.answers.is_quiet() and self._name.is_ours(),
            settings=settings,
            now=now,
        )

    def prepare(self, settings: TopicSettings) -> None:
        """Make the topics that the node needs; `settings` as those of an invoker's topic. Raises `BusError`."""
        self._bus.ensure_topic(self.topic, envelopes.topic(settings))
        self._bus.ensure_topic(self._topics.nodes, heartbeats.topic(settings))

    def claim(self) -> None:
        """Have the name; nothing may be read before. Raises `NameTakenError` while another program has it, and
        `BusError`; then call it again."""
        self._name.obtain()

    def begin(self, position: int) -> None:
        self._ledger.begin(position)
        self.heart.start()

    def read(self, message: Message) -> Assignment | None:
        parcel = envelopes.parse(message.value)
        if isinstance(parcel, Marker):
            return None
        return Dispatched(parcel.message, parcel.instance, message.offset, parcel.incarnation, parcel.memory_mb)

    def take_over(self, position: int, assignments: Sequence[Assignment]) -> None:
        self._ledger.take_over(position, [it for it in assignments if isinstance(it, Dispatched)])

    def may_act(self, assignment: Assignment) -> bool:
        return self.heart.may_act(assignment.life)

    def complete(self, assignment: Assignment) -> None:
        self._ledger.finish(assignment)

    def give_up(self, assignment: Assignment) -> None:
        self._ledger.forget(assignment)

    def _state(self) -> NodeState:
        """With each heartbeat."""
        self._name.keep()
        return self._describe()

    @property
    def unfinished(self) -> int:
        """How many activations the node has taken over and not finished."""
        return len(self._ledger)

    @property
    def is_enabled(self) -> bool:
        """Whether the node asks dispatchers for work."""
        return self.heart.is_enabled

    def enable(self) -> None:
        """Ask dispatchers for work again."""
        self.heart.enable()

    def disable(self) -> None:
        """Ask for no more; what the node has is finished. To be called when it begins to drain."""
        self.heart.disable()

    def close(self) -> None:
        """Say what is finished, and no more."""
        self.heart.close()


class Answers:
    """The bus as answers to controllers are given to it: it knows whether any of them are still on their way."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._lock = threading.Lock()
        self._on_their_way = 0

    def is_quiet(self) -> bool:
        """Whether every answer is there, or will never be."""
        with self._lock:
            return self._on_their_way == 0

    def ensure_topic(self, topic: str, settings: TopicSettings) -> None:
        self._bus.ensure_topic(topic, settings)

    def subscribe(self, topic: str, group: str, *, begin: From) -> Subscription:
        return self._bus.subscribe(topic, group, begin=begin)

    def send(self, topic: str, value: bytes) -> Future[None]:
        with self._lock:
            self._on_their_way += 1
        sent = self._bus.send(topic, value)
        sent.add_done_callback(self._arrive)
        return sent

    def committed(self, topic: str, group: str) -> Mapping[int, Position]:
        return self._bus.committed(topic, group)

    def is_up(self) -> bool:
        return self._bus.is_up()

    def close(self) -> None:
        self._bus.close()

    def _arrive(self, _: Future[None]) -> None:
        with self._lock:
            self._on_their_way -= 1
