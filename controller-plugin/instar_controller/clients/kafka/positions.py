"""Where groups have come to, as the broker keeps it, and where partitions begin and end.

One rule: each question has an end. A consumer of the library that commits goes on asking for as long as it gets no
answer, whatever it is told; so positions are read and written as an administrator does, who has a limit. The broker
takes them from anybody as long as the group has no members, and ours never have.

What is kept beside an offset names the topic that it is of (`topic_ids`), before our own note: a position outlives
its topic where who commits it has not heard yet that there is a new one of that name. Such a position counts for
none. One that names no topic is a stock invoker's or controller's, or of a broker without ids, and counts.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence

from confluent_kafka import ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # it is not told to be there

from instar_controller.clients.kafka import failures
from instar_controller.clients.kafka.topic_ids import KnownTopic
from instar_controller.cluster_ports import Position

logger = logging.getLogger(__name__)

_KEPT = re.compile(r"topic=([A-Za-z0-9+/_-]{22});(.*)", re.DOTALL)
# As times, these mean a partition's beginning and its end.
_EARLIEST, _LATEST = OffsetSpec.for_timestamp(-2), OffsetSpec.for_timestamp(-1)
NAME_BYTES = len("topic=;") + 22  # of what is before a note


class Positions:
    """Safe for several threads. Every method may raise `BusError`."""

    def __init__(self, admin: AdminClient, answer_s: float) -> None:
        self._admin = admin
        self._answer_s = answer_s

    def commit(self, topic: str, group: str, positions: Mapping[int, Position], *, id: str) -> None:
        """Keep these, which are of the topic with this id. A note and `NAME_BYTES` may have as many bytes as the
        broker's `offset.metadata.max.bytes`, 4096."""
        if not positions:
            return
        what = f"the position of {group} in topic {topic} is not committed"
        wanted = [
            TopicPartition(topic, partition, each.offset, _written(each.note, id))
            for partition, each in positions.items()
        ]
        with failures.translated(what):
            asked = self._admin.alter_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=self._answer_s
            )
            for kept in asked[group].result().topic_partitions:
                if kept.error is not None:
                    raise failures.failure(what, kept.error)

    def committed(self, topic: str, group: str, known: KnownTopic) -> dict[int, Position]:
        """Those that were kept in the partitions of this topic."""
        what = f"the position of {group} in topic {topic} cannot be read"
        wanted = [TopicPartition(topic, partition) for partition in known.partitions]
        found = {}
        with failures.translated(what):
            asked = self._admin.list_consumer_group_offsets(
                [ConsumerGroupTopicPartitions(group, wanted)], request_timeout=self._answer_s
            )
            for each in asked[group].result().topic_partitions:
                if each.error is not None:
                    raise failures.failure(what, each.error)
                if each.offset < 0:
                    continue
                id, note = _read(each.metadata or "")
                if id and known.id and id != known.id:
                    logger.warning(
                        "%s: the position %s of %s in partition %s counts for none: it is of the topic %s, which has "
                        "gone; this one is %s",
                        *(topic, each.offset, group, each.partition, id, known.id),
                    )
                else:
                    found[each.partition] = Position(each.offset, note)
        return found

    def ranges(self, topic: str, partitions: Sequence[int], what: str) -> dict[int, tuple[int, int]]:
        """Where these partitions begin and end; `what` says what cannot be done without that. A reader might be
        asked, too, but for a while it goes by what it knew of a topic that was made anew."""
        places = [TopicPartition(topic, partition) for partition in partitions]
        with failures.translated(what):
            asked = [
                self._admin.list_offsets(dict.fromkeys(places, at), request_timeout=self._answer_s)
                for at in (_EARLIEST, _LATEST)
            ]
            low, high = ({at.partition: it.result().offset for at, it in each.items()} for each in asked)
        return {partition: (low[partition], high[partition]) for partition in partitions}


def _written(note: str, id: str) -> str:
    return f"topic={id};{note}" if id else note


def _read(kept: str) -> tuple[str, str]:
    """The topic's id, or nothing; and the note."""
    match = _KEPT.fullmatch(kept)
    return (match[1], match[2]) if match else ("", kept)
