"""Reads a topic in the name of a group.

One rule: the group has one reader, and it takes all partitions by itself (`assign`); so nobody waits until a group
has come together, and a position is what we committed, no more. The library fetches ahead on threads of its own, goes
on by itself when a broker was away, and repeats what was not answered.

What it does not do is to notice that the topic was made anew: it reads on from the old offset, and passes over what
lies before it if the new topic has grown past that. So the topic's id is asked for now and then (`topic_ids`), and no
message is given to anybody that was fetched long after it was last known, or after a connection has failed. The
question is under way while messages are waited for, and costs them no time.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Fetched

from instar_controller.clients.kafka import failures
from instar_controller.clients.kafka.positions import Positions
from instar_controller.clients.kafka.pulse import Pulse
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.clients.kafka.topic_ids import KnownTopic, Question, TopicIds
from instar_controller.cluster_ports import From, Message, Position
from instar_controller.errors import BusError

logger = logging.getLogger(__name__)

LOOK_S = 0.5  # between two questions which topic it is
SURE_S = 1.0  # so long after a question that found it, messages are taken for its own: no topic is lost, made and
# filled again in that time with no connection broken


class KafkaSubscription:
    """See `cluster_ports.Subscription`. The constructor asks the broker, and may raise `BusError`.

    Partitions that are added are read, too, from where a reader begins. `make_again` is called when there is no such
    topic any more; it makes the topic if it knows how, and raises `BusError`.
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: TopicIds,
        positions: Positions,
        pulse: Pulse,
        topic: str,
        group: str,
        begin: From,
        *,
        make_again: Callable[[str], None],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._topics = topics
        self._kept = positions
        self._pulse = pulse
        self._topic = topic
        self._group = group
        self._begin = begin
        self._make_again = make_again
        self._now = now
        self._what = f"topic {topic} cannot be read by {group}"
        self._next: dict[int, int] = {}  # by partition: what was given to nobody yet begins here
        self._ends: dict[int, int] = {}
        self._fetched: list[Message] = []  # and not given to anybody …
        self._fetched_s = float("-inf")  # … since then
        self._lost: dict[int, str] = {}  # partitions that the library has given up, and why
        self._was_absent = False  # it has given up all of them
        self._untouched: set[int] = set()  # of a topic made anew: partitions of which nothing was given to anybody
        self._question: Question | None = None
        self._asked_s = self._sure_s = float("-inf")
        with failures.translated(self._what):
            self._consumer = Consumer({**settings.of_reader(group), "error_cb": self._suspect})
        try:
            self._known = self._find()
            self._began_with = self._kept.committed(topic, group, self._known)
            self._assign(self._began_with)
        except BusError:
            self._consumer.close()
            raise

    def poll(self, *, timeout_s: float, most: int) -> Sequence[Message]:
        until_s = self._now() + timeout_s
        self._look()
        if not self._fetched:
            self._fetched, self._fetched_s = self._fetch(timeout_s, most), self._now()
        if not self._fetched or not self._is_sure(until_s):
            return []
        given, self._fetched = self._fetched[:most], self._fetched[most:]
        for message in given:
            self._next[message.partition] = message.offset + 1
            self._untouched.discard(message.partition)
        return given

    def commit(self, positions: Mapping[int, Position]) -> None:
        # Who has read nothing of a new topic yet speaks of the one that has gone, with which its position went.
        told = {at: it for at, it in positions.items() if at not in self._untouched and at in self._known.partitions}
        self._kept.commit(self._topic, self._group, told, id=self._known.id)

    def positions(self) -> Mapping[int, Position]:
        return dict(self._began_with)

    def ends(self) -> Mapping[int, int]:
        return dict(self._ends)

    def close(self) -> None:
        self._consumer.close()

    def __repr__(self) -> str:
        return f"<KafkaSubscription: {self._group} reads {self._topic}, next {self._next}>"

    # Which topic it is.

    def _suspect(self, error: KafkaError) -> None:
        """The library's `error_cb`, which it calls when we ask it for messages, before those that came after."""
        self._pulse.failed(error)
        self._doubt()

    def _doubt(self) -> None:
        """What was known of the topic counts no more; nor does an answer to what was asked before."""
        self._sure_s = float("-inf")
        self._question = None

    def _look(self) -> None:
        """See to what is known of the topic, without waiting unless something was lost. Raises `BusError`."""
        if self._lost or self._was_absent:
            self._doubt()
            self._take_up(self._find())
        elif self._question is not None:
            if self._question.wait(0):
                self._hear(self._question)
        elif self._now() - self._asked_s >= LOOK_S:
            self._ask()

    def _is_sure(self, until_s: float) -> bool:
        """Whether what was fetched is of the topic that is read; waits until then to find out. Raises `BusError`."""
        while self._fetched_s - self._sure_s > SURE_S:
            question = self._question or self._ask()
            if not question.wait(until_s - self._now()):
                return False
            self._hear(question)
            if self._was_absent or not self._fetched:
                return False
        return True

    def _ask(self) -> Question:
        self._question = self._topics.ask(self._topic, self._what)
        self._asked_s = self._question.asked_s
        return self._question

    def _hear(self, question: Question) -> None:
        """Raises `BusError`."""
        self._question = None
        found = question.result()
        if found is None:
            self._was_absent = True
            return
        if found != self._known:
            self._take_up(found)
        self._sure_s = question.asked_s

    def _find(self) -> KnownTopic:
        """The topic as it is now, which is made again if it has gone. Raises `BusError`."""
        asked_s = self._now()
        found = self._topics.ask(self._topic, self._what).result()
        if found is None:
            self._make_again(self._topic)
            asked_s = self._now()
            found = self._topics.find(self._topic, self._what)
        self._asked_s = self._sure_s = asked_s
        return found

    # Where it is read.

    def _assign(self, positions: Mapping[int, Position]) -> None:
        """Take all partitions, each from where the group is or else from where it begins. Raises `BusError`."""
        places = {}
        for partition, (low, high) in self._ranges(self._known.partitions).items():
            places[partition] = self._start(low, high)
            self._ends[partition] = high
            if partition in positions:
                offset = positions[partition].offset
                if low <= offset <= high:
                    places[partition] = offset
                else:
                    self._say_lost(partition, offset, f"it has {low} to {high}")
        self._go_on(places)

    def _take_up(self, found: KnownTopic) -> None:
        """Read this topic: as before, as far as it is the same. Raises `BusError`; then nothing has changed."""
        is_another = found.id != self._known.id
        places = {} if is_another else {it: at for it, at in self._next.items() if it in found.partitions}
        unknown = [it for it in found.partitions if it not in places or it in self._lost]
        for partition, (low, high) in self._ranges(unknown).items():
            offset = places.get(partition)
            if offset is not None and low <= offset <= high:
                continue  # the library was mistaken, or late
            places[partition] = self._start(low, high)
            if offset is not None:
                self._say_lost(partition, offset, self._lost[partition])
        # Without ids, a partition that ends before our place is the only sign of a topic made anew.
        untouched = found.partitions if is_another else [it for it in places if places[it] < self._next.get(it, 0)]
        self._go_on(places)
        if is_another:
            logger.warning(
                "%s was made anew: it is %s and no longer %s; %s reads it from its %s on",
                *(self._topic, found.id, self._known.id, self._group, self._begin.value),
            )
        self._untouched.update(untouched)
        self._known = found

    def _go_on(self, places: Mapping[int, int]) -> None:
        """Have the library fetch from here on. It does not let us seek in a partition that it has given up."""
        with failures.translated(self._what):
            self._consumer.assign([TopicPartition(self._topic, *place) for place in places.items()])
        self._next = dict(places)
        self._fetched, self._was_absent = [], False
        self._lost.clear()

    def _ranges(self, partitions: Sequence[int]) -> dict[int, tuple[int, int]]:
        """Where these begin and end. Raises `BusError`."""
        return self._kept.ranges(self._topic, partitions, self._what) if partitions else {}

    def _start(self, low: int, high: int) -> int:
        return low if self._begin is From.EARLIEST else high

    def _say_lost(self, partition: int, offset: int, why: str) -> None:
        logger.warning(
            "%s: the next message of partition %s for %s would be %s, but %s; going on at the %s",
            *(self._topic, partition, self._group, offset, why, self._begin.value),
        )

    # What comes.

    def _fetch(self, timeout_s: float, most: int) -> list[Message]:
        """The next messages that the library has. Raises `BusError`."""
        with failures.translated(self._what):
            first = self._consumer.poll(timeout_s)
        if first is None:
            return []
        fetched = [first]
        if most > 1:
            # It would wait until there are so many; this takes what is there. If it fails, `first` is ours already.
            with contextlib.suppress(KafkaException):
                fetched += self._consumer.consume(most - 1, 0)
        return self._sorted_out(fetched)

    def _sorted_out(self, fetched: Iterable[Fetched]) -> list[Message]:
        """The messages among what the library tells; the rest is noted, or raised as `BusError`."""
        found = []
        failed = None
        for each in fetched:
            error = each.error()
            if error is None:
                found.append(_message(each))
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                self._lost[_partition(each)] = error.str()
            elif failures.is_absent(error):
                self._was_absent = True
            else:
                failed = failures.failure(self._what, error)
        if failed is not None:
            if not found:
                raise failed
            logger.warning("%s", failed)  # it will be raised if it lasts
        return found


def _message(fetched: Fetched) -> Message:
    offset = fetched.offset()
    assert offset is not None
    return Message(_partition(fetched), offset, fetched.value() or b"", fetched.timestamp()[1])


def _partition(fetched: Fetched) -> int:
    partition = fetched.partition()
    assert partition is not None
    return partition
