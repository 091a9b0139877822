"""Where groups have come to, as the broker keeps it.

One rule: each question has an end. A consumer of the library that commits goes on asking for as long as it gets no
answer, whatever it is told; so positions are read and written as an administrator does, who has a limit. The broker
takes them from anybody as long as the group has no members, and ours never have.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient

from instar_controller.clients.kafka import failures
from instar_controller.cluster_ports import Position


class Positions:
    """Safe for several threads. Every method may raise `BusError`."""

    def __init__(self, admin: AdminClient, answer_s: float) -> None:
        self._admin = admin
        self._answer_s = answer_s

    def commit(self, topic: str, group: str, positions: Mapping[int, Position]) -> None:
        """Keep these; a note may have as many bytes as the broker's `offset.metadata.max.bytes`, 4096."""
        if not positions:
            return
        what = f"the position of {group} in topic {topic} is not committed"
        wanted = [TopicPartition(topic, partition, each.offset, each.note) for partition, each in positions.items()]
        with failures.translated(what):
            asked = self._admin.alter_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=self._answer_s
            )
            for kept in asked[group].result().topic_partitions:
                if kept.error is not None:
                    raise failures.failure(what, kept.error)

    def committed(self, topic: str, group: str, partitions: Iterable[int]) -> dict[int, Position]:
        """Those that were kept in these partitions."""
        what = f"the position of {group} in topic {topic} cannot be read"
        wanted = [TopicPartition(topic, partition) for partition in partitions]
        found = {}
        with failures.translated(what):
            asked = self._admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=self._answer_s
            )
            for each in asked[group].result().topic_partitions:
                if each.error is not None:
                    raise failures.failure(what, each.error)
                if each.offset >= 0:
                    found[each.partition] = Position(each.offset, each.metadata or "")
        return found
