"""Which topic it is that has a name now.

One rule: a topic is known by its id, and its name may be another one's tomorrow. A broker that has lost its disk, or
an operator who deletes and makes a topic, leaves readers with offsets that mean nothing in the new one, and that may
be valid in it all the same. Nothing else tells: not the offsets, nor the ends of partitions, nor the library.

Brokers give ids from Apache Kafka 2.8 on. Of an older one the id is empty; then all topics of a name are the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent import futures
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from instar_controller.clients.kafka import failures
from instar_controller.errors import BusError

if TYPE_CHECKING:
    from confluent_kafka.admin._topic import TopicDescription  # `admin` has it too, but does not say so

NO_ID = "A" * 22  # as base64, of a broker that has none


@dataclass(frozen=True, slots=True)
class KnownTopic:
    """A topic as the broker has described it."""

    id: str  # base64; empty if the broker has no ids
    partitions: tuple[int, ...]


class Question:
    """One question, since when it is under way. It has an end, as the library sees to. For one thread."""

    def __init__(self, what: str, asked_s: float, answer: Future[TopicDescription]) -> None:
        self._what = what
        self.asked_s = asked_s
        self._answer = answer

    def wait(self, timeout_s: float) -> bool:
        """Whether it has come to its end; waits for that a while."""
        return bool(futures.wait([self._answer], timeout=max(timeout_s, 0.0)).done)

    def result(self) -> KnownTopic | None:
        """The topic as it was after `asked_s`; None if there was none. Raises `BusError`."""
        try:
            return _known(self._answer.result())
        except KafkaException as raised:
            error = failures.of(raised)
            if failures.is_absent(error):
                return None
            raise failures.failure(self._what, error) from raised


class TopicIds:
    """Safe for several threads."""

    def __init__(self, admin: AdminClient, answer_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._admin = admin
        self._answer_s = answer_s
        self._now = now

    def ask(self, topic: str, what: str) -> Question:
        """Ask, and wait for nothing. Makes no topic. `what` says what cannot be done without an answer, as errors
        begin. Raises `BusError`."""
        asked_s = self._now()
        with failures.translated(what):
            asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=self._answer_s)
        return Question(what, asked_s, asked[topic])

    def find(self, topic: str, what: str) -> KnownTopic:
        """The topic as it is now. Raises `BusError`, also if there is none."""
        found = self.ask(topic, what).result()
        if found is None:
            raise BusError(f"{what}: there is no such topic; make it with `ensure_topic`")
        return found


def _known(found: TopicDescription) -> KnownTopic:
    id = str(found.topic_id)
    return KnownTopic("" if id == NO_ID else id, tuple(sorted(each.id for each in found.partitions)))
