"""Reads a topic in the name of a group.

One rule: the group has one reader, and it takes all partitions by itself (`assign`); so nobody waits until a group
has come together, and a position is what we committed, no more. The library fetches ahead on threads of its own, goes
on by itself when a broker was away, and repeats what was not answered.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Mapping, Sequence

from confluent_kafka import OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka import Message as Fetched

from instar_controller.clients.kafka import failures
from instar_controller.clients.kafka.positions import Positions
from instar_controller.clients.kafka.pulse import Pulse
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.cluster_ports import From, Message, Position
from instar_controller.errors import BusError

logger = logging.getLogger(__name__)


class KafkaSubscription:
    """See `cluster_ports.Subscription`. The constructor asks the broker, and may raise `BusError`.

    It reads the partitions that the topic has then; those that are added are read by the next one.
    """

    def __init__(
        self, settings: KafkaSettings, positions: Positions, pulse: Pulse, topic: str, group: str, begin: From
    ) -> None:
        self._kept = positions
        self._topic = topic
        self._group = group
        self._begin = begin
        self._answer_s = settings.answer_s
        self._what = f"topic {topic} cannot be read by {group}"
        self._next: dict[int, int] = {}  # by partition
        self._ends: dict[int, int] = {}
        self._lost: dict[int, str] = {}  # where we have to begin anew, and why
        with failures.translated(self._what):
            self._consumer = Consumer({**settings.of_reader(group), "error_cb": pulse.failed})
        try:
            with failures.translated(self._what):
                self._began_with = self._assign()
        except BusError:
            self._consumer.close()
            raise

    def poll(self, *, timeout_s: float, most: int) -> Sequence[Message]:
        if self._lost:
            self._begin_anew()
        with failures.translated(self._what):
            first = self._consumer.poll(timeout_s)
            if first is None:
                self._look_for_lost()
                return []
        fetched = [first]
        if most > 1:
            # It would wait until there are so many; this takes what is there. If it fails, `first` is ours already.
            with contextlib.suppress(KafkaException):
                fetched += self._consumer.consume(most - 1, 0)
        found = []
        failed = None
        for each in fetched:
            error = each.error()
            if error is None:
                found.append(self._taken(each))
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                self._lost[self._partition(each)] = error.str()
            else:
                failed = failures.failure(self._what, error)
        if failed is not None:
            if not found:
                raise failed
            logger.warning("%s", failed)  # it will be raised if it lasts
        return found

    def commit(self, positions: Mapping[int, Position]) -> None:
        self._kept.commit(self._topic, self._group, positions)

    def positions(self) -> Mapping[int, Position]:
        return dict(self._began_with)

    def ends(self) -> Mapping[int, int]:
        return dict(self._ends)

    def close(self) -> None:
        self._consumer.close()

    def __repr__(self) -> str:
        return f"<KafkaSubscription: {self._group} reads {self._topic}, next {self._next}>"

    def _assign(self) -> Mapping[int, Position]:
        """Take all partitions, each from the right place on. Returns what the group had committed."""
        found = self._consumer.list_topics(self._topic, timeout=self._answer_s).topics[self._topic]
        if found.error is not None:
            raise failures.failure(self._what, found.error)
        partitions = [TopicPartition(self._topic, partition) for partition in sorted(found.partitions)]
        committed = self._kept.committed(self._topic, self._group, found.partitions)
        for each in partitions:
            low, high = self._consumer.get_watermark_offsets(each, timeout=self._answer_s)
            start = low if self._begin is From.EARLIEST else high
            position = committed.get(each.partition)
            if position is None:
                each.offset = start
            elif low <= position.offset <= high:
                each.offset = position.offset
            else:
                self._say_lost(each.partition, position.offset, f"it has {low} to {high}")
                each.offset = start
            self._next[each.partition] = each.offset
            self._ends[each.partition] = high
        self._consumer.assign(partitions)
        return committed

    def _look_for_lost(self) -> None:
        """Find partitions that end before what we want next, which not every broker calls an error."""
        for partition, offset in self._next.items():
            _, high = self._consumer.get_watermark_offsets(TopicPartition(self._topic, partition), cached=True)
            if OFFSET_INVALID < high < offset:
                self._lost[partition] = f"it ends at {high}"

    def _begin_anew(self) -> None:
        """Go on where partitions begin or end that have lost our place, and elsewhere with what was not read yet."""
        with failures.translated(self._what):
            for partition, why in self._lost.items():
                at = TopicPartition(self._topic, partition)
                low, high = self._consumer.get_watermark_offsets(at, timeout=self._answer_s)
                self._say_lost(partition, self._next[partition], why)
                self._next[partition] = low if self._begin is From.EARLIEST else high
            # The library does not let us seek in a partition that it has given up.
            self._consumer.assign([TopicPartition(self._topic, *each) for each in self._next.items()])
        self._lost.clear()

    def _say_lost(self, partition: int, offset: int, why: str) -> None:
        logger.warning(
            "%s: the next message of partition %s for %s would be %s, but %s; going on at the %s",
            *(self._topic, partition, self._group, offset, why, self._begin.value),
        )

    def _taken(self, fetched: Fetched) -> Message:
        partition, offset = self._partition(fetched), fetched.offset()
        assert offset is not None
        self._next[partition] = offset + 1
        return Message(partition, offset, fetched.value() or b"", fetched.timestamp()[1])

    @staticmethod
    def _partition(fetched: Fetched) -> int:
        partition = fetched.partition()
        assert partition is not None
        return partition
