"""A message bus in this process's memory: the twin of `kafka`, for rehearsals and tests.

One rule: it keeps every promise of the port and no more. So it is strict where a broker may be: a topic has to be
made before anything is sent or read. Nothing happens by itself: what is sent is there when `send` returns, and what
goes wrong goes wrong because a test has asked for it (`go_down`, `hold`, `refuse`, `lose`).
"""

from __future__ import annotations

import itertools
import logging
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from instar_controller.clients.clock import SystemClock
from instar_controller.cluster_ports import From, Message, Position, Subscription, TopicSettings
from instar_controller.errors import BusError, MessageTooLargeError
from instar_controller.ports import Clock

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Topic:
    """A topic's messages, by partition; the next one without a key goes to the next partition in turn."""

    settings: TopicSettings
    logs: list[list[Message]] = field(init=False)
    turn: itertools.count[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.logs = [[] for _ in range(self.settings.partitions)]


@dataclass(frozen=True, slots=True)
class _OnItsWay:
    topic: str
    value: bytes
    future: Future[None]


class MemoryBus:
    """See `cluster_ports.Bus`. `_changed` guards all that the bus and its readers have."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._changed = threading.Condition()
        self._clock = clock or SystemClock()
        self._topics: dict[str, _Topic] = {}
        self._positions: dict[tuple[str, str], tuple[_Topic, dict[int, Position]]] = {}
        self._refused: dict[str, str] = {}
        self._held: list[_OnItsWay] | None = None
        self._is_down = False
        self._is_closed = False

    # What the port promises.

    def ensure_topic(self, topic: str, settings: TopicSettings) -> None:
        with self._changed:
            self._check(f"topic {topic} cannot be made")
            self._topics.setdefault(topic, _Topic(settings))

    def subscribe(self, topic: str, group: str, *, begin: From) -> Subscription:
        with self._changed:
            what = f"topic {topic} cannot be read by {group}"
            self._check(what)
            self._topic(topic, what)
            return _MemorySubscription(self, topic, group, begin)

    def send(self, topic: str, value: bytes) -> Future[None]:
        sent = _OnItsWay(topic, value, Future())
        sent.future.set_running_or_notify_cancel()
        with self._changed:
            if self._held is not None and not self._is_closed:
                self._held.append(sent)
                return sent.future
            failure = self._take(sent)
        _settle(sent, failure)
        return sent.future

    def committed(self, topic: str, group: str) -> Mapping[int, Position]:
        with self._changed:
            self._check(f"the position of {group} in topic {topic} cannot be read")
            return self._kept(topic, group)

    def is_up(self) -> bool:
        return not (self._is_down or self._is_closed)

    def close(self) -> None:
        """Readers that wait are woken, and fail as everybody does from now on."""
        with self._changed:
            self._is_closed = True
            held, self._held = self._held or [], None
            self._changed.notify_all()
        for sent in held:
            _settle(sent, BusError(f"a message to {sent.topic} is not sent: the bus is closed"))

    # What a test can do to it.

    def go_down(self) -> None:
        """Answer nobody: reads, commits and sends fail, until `come_back`. Nothing is lost."""
        with self._changed:
            self._is_down = True
            self._changed.notify_all()

    def come_back(self) -> None:
        with self._changed:
            self._is_down = False
            self._changed.notify_all()

    def hold(self) -> None:
        """Leave messages on their way: their futures are not done until `release`."""
        with self._changed:
            self._held = [] if self._held is None else self._held

    def release(self) -> None:
        """Let those that are held arrive, in order."""
        with self._changed:
            held, self._held = self._held or [], None
            failures = [self._take(sent) for sent in held]
        for sent, failure in zip(held, failures, strict=True):
            _settle(sent, failure)

    def refuse(self, topic: str, why: str = "it is not authorized") -> None:
        """Take no message to this topic, until `accept`."""
        with self._changed:
            self._refused[topic] = why

    def accept(self, topic: str) -> None:
        with self._changed:
            self._refused.pop(topic, None)

    def lose(self, topic: str) -> None:
        """Forget its messages and begin to count anew, as a broker that lost its disk. Positions of groups go with
        it, also those that its readers commit before they have found out."""
        with self._changed:
            self._topics[topic] = _Topic(self._topics[topic].settings)

    def sent(self, topic: str) -> list[bytes]:
        """All messages that a topic holds, by partition and offset."""
        with self._changed:
            return [message.value for log in self._topics[topic].logs for message in log]

    def wait_for(self, topic: str, count: int, *, timeout_s: float = 60.0) -> list[bytes]:
        """The same, once there are so many. Raises `TimeoutError`."""
        with self._changed:
            if not self._changed.wait_for(lambda: len(self.sent(topic)) >= count, timeout_s):
                raise TimeoutError(
                    f"topic {topic} has {len(self.sent(topic))} messages after {timeout_s} s, not {count}"
                )
            return self.sent(topic)

    def __repr__(self) -> str:
        with self._changed:
            state = "closed" if self._is_closed else "down" if self._is_down else "up"
            counts = ", ".join(f"{name}: {sum(map(len, it.logs))}" for name, it in sorted(self._topics.items()))
        return f"<MemoryBus: {state}; {counts or 'no topics'}>"

    # What its readers use, with `_changed` held.

    def _topic(self, name: str, what: str) -> _Topic:
        """Raises `BusError`."""
        if name not in self._topics:
            raise BusError(f"{what}: there is no such topic; make it with `ensure_topic`")
        return self._topics[name]

    def _kept(self, topic: str, group: str) -> dict[int, Position]:
        """Positions in the topic that has this name now."""
        of, kept = self._positions.get((topic, group), (None, {}))
        return dict(kept) if of is self._topics.get(topic) else {}

    def _keep(self, topic: str, group: str, positions: Mapping[int, Position]) -> None:
        self._positions[topic, group] = self._topics[topic], {**self._kept(topic, group), **positions}

    def _why_not(self) -> str | None:
        """Why nobody is served just now."""
        return "the bus is closed" if self._is_closed else "the bus is down" if self._is_down else None

    def _check(self, what: str) -> None:
        why = self._why_not()
        if why is not None:
            raise BusError(f"{what}: {why}")

    def _take(self, sent: _OnItsWay) -> BusError | None:
        """Append a message, or say why not."""
        what = f"a message of {len(sent.value)} bytes to {sent.topic} is not sent"
        try:
            self._check(what)
            topic = self._topic(sent.topic, what)
            limit = topic.settings.max_message_bytes
            if len(sent.value) > limit:
                raise MessageTooLargeError(f"{what}: the topic takes {limit} bytes (max.message.bytes)")
            if sent.topic in self._refused:
                raise BusError(f"{what}: {self._refused[sent.topic]}")
        except BusError as error:
            return error
        partition = next(topic.turn) % len(topic.logs)
        log = topic.logs[partition]
        log.append(Message(partition, len(log), sent.value, self._clock.now_ms()))
        self._changed.notify_all()
        return None


class _MemorySubscription:
    """See `cluster_ports.Subscription`."""

    def __init__(self, bus: MemoryBus, topic: str, group: str, begin: From) -> None:
        self._bus = bus
        self._topic = topic
        self._group = group
        self._begin = begin
        self._began_with = bus._kept(topic, group)
        self._is_closed = False
        self._ends = {partition: len(log) for partition, log in enumerate(bus._topic(topic, "").logs)}
        self._known = bus._topic(topic, "")
        self._untouched: set[int] = set()  # of a topic made anew: partitions of which nothing was read
        self._next: dict[int, int] = {}
        for partition, log in enumerate(self._known.logs):
            position = self._began_with.get(partition)
            self._next[partition] = self._start(log) if position is None else position.offset
        self._find_again()

    def poll(self, *, timeout_s: float, most: int) -> Sequence[Message]:
        found: list[Message] = []

        def look() -> bool:
            if self._why_not() is None:
                found.extend(self._take(most))
            return bool(found) or self._is_closed or self._bus._is_closed

        with self._bus._changed:
            # A bus that is down is waited for, so that nobody asks it in a busy circle.
            self._bus._changed.wait_for(look, timeout_s)
            why = self._why_not()
        if why is not None and not found:
            raise BusError(f"topic {self._topic} cannot be read by {self._group}: {why}")
        return found

    def commit(self, positions: Mapping[int, Position]) -> None:
        with self._bus._changed:
            why = self._why_not()
            if why is not None:
                raise BusError(f"the position of {self._group} in topic {self._topic} is not committed: {why}")
            if self._bus._topic(self._topic, "") is self._known:
                told = {at: position for at, position in positions.items() if at not in self._untouched}
                self._bus._keep(self._topic, self._group, told)

    def positions(self) -> Mapping[int, Position]:
        return dict(self._began_with)

    def ends(self) -> Mapping[int, int]:
        return dict(self._ends)

    def close(self) -> None:
        with self._bus._changed:
            self._is_closed = True
            self._bus._changed.notify_all()

    def __repr__(self) -> str:
        return f"<_MemorySubscription: {self._group} reads {self._topic}, next {self._next}>"

    def _take(self, most: int) -> list[Message]:
        self._find_again()
        found: list[Message] = []
        for partition, log in enumerate(self._bus._topic(self._topic, "").logs):
            offset = self._next[partition]
            found += log[offset : offset + most - len(found)]
        for message in found:
            self._next[message.partition] = message.offset + 1
            self._untouched.discard(message.partition)
        return found

    def _find_again(self) -> None:
        """Begin as we were told in a topic made anew, and in a partition that does not hold what we want next."""
        topic = self._bus._topic(self._topic, "")
        if topic is not self._known:
            self._known = topic
            self._next = {partition: self._start(log) for partition, log in enumerate(topic.logs)}
            self._untouched = set(self._next)
            logger.warning(
                "%s was made anew; %s reads it from its %s on", self._topic, self._group, self._begin.value
            )
        for partition, log in enumerate(topic.logs):
            offset = self._next[partition]
            if offset > len(log):
                self._next[partition] = self._start(log)
                logger.warning(
                    "%s: the next message of partition %s for %s would be %s, but it ends at %s; going on at its %s",
                    *(self._topic, partition, self._group, offset, len(log), self._begin.value),
                )

    def _start(self, log: Sequence[Message]) -> int:
        return 0 if self._begin is From.EARLIEST else len(log)

    def _why_not(self) -> str | None:
        return "the reader is closed" if self._is_closed else self._bus._why_not()


def _settle(sent: _OnItsWay, failure: BusError | None) -> None:
    """Never with the lock held: what waits for the future may send in turn."""
    if failure is None:
        sent.future.set_result(None)
    else:
        sent.future.set_exception(failure)
