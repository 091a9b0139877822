"""A controller that keeps so many activations in flight, and remembers when each was sent and answered.

One rule: a closed loop. An activation is sent when another's completion has come, as for a client that waits; and an
action is invoked again only once its last activation is complete, so that each needs one container.
"""

from __future__ import annotations

import json
import time
import uuid
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.bench.invoker_rig import RunningBroker

USER = {
    "subject": "guest",
    "namespace": {"name": "guest", "uuid": "23bc46b1-71f6-4ed5-8c54-816aa4f8c502"},
    "authkey": {"api_key": "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:" + "k" * 64},
    "rights": ["READ", "PUT", "DELETE", "ACTIVATE"],
    "limits": {},
}
ANSWER_S = 60.0  # most time that an activation takes, a cold one too


@dataclass(slots=True)
class Sample:
    """One activation. Times are nanoseconds of the monotonic clock."""

    action: str
    sent_ns: int
    result_ns: int = 0  # when its result was read, or its completion if that has it
    left_ns: int = 0  # when it left the broker for its invoker …
    came_ns: int = 0  # … and its answer came to the broker
    container_ns: int = 0  # of it, as its container has measured
    is_warm: bool = False
    completions: int = 0

    @property
    def added_ms(self) -> float:
        """By the invoker: from its message to its answer."""
        return (self.came_ns - self.left_ns - self.container_ns) / 1e6

    @property
    def round_trip_ms(self) -> float:
        """All that a controller waits for beside the container: the way through the broker and back, too."""
        return (self.result_ns - self.sent_ns - self.container_ns) / 1e6


@dataclass(slots=True)
class Round:
    """What one stretch of load has brought."""

    samples: list[Sample] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        return len(self.samples) / self.seconds


class Load:
    """The controller's side of the bus. For one thread."""

    def __init__(self, broker: RunningBroker, *, controller: str = "0") -> None:
        hosts = broker.hosts
        self._broker = broker
        self._controller = controller
        self._completed = f"completed{controller}"
        admin = AdminClient({"bootstrap.servers": hosts})
        topics = [NewTopic(name, num_partitions=1, replication_factor=1) for name in (self._completed, "health")]
        for made in admin.create_topics(topics).values():
            try:
                made.result(30)
            except KafkaException as raised:
                if raised.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
        self._producer = Producer({"bootstrap.servers": hosts, "acks": 1, "linger.ms": 0, "log_level": 0})
        self._consumer = Consumer(
            {"bootstrap.servers": hosts, "group.id": "load", "enable.auto.commit": False, "log_level": 0}
        )
        self._consumer.assign([TopicPartition(self._completed, 0, OFFSET_BEGINNING)])
        self.samples: dict[str, Sample] = {}  # all that were sent, by activation id

    def keep(self, invoker: int, actions: Mapping[str, str], *, in_flight: int, seconds: float) -> Round:
        """Keep so many in flight for so long, of these actions in turn (by name, their revision); then let all
        finish."""
        idle = deque(actions)
        begun, until_ns = time.monotonic(), time.monotonic_ns() + int(seconds * 1e9)
        sent: list[Sample] = []
        open_: dict[str, Sample] = {}
        finished_ns = 0
        while True:
            while len(open_) < in_flight and idle and time.monotonic_ns() < until_ns:
                id, sample = self._send(invoker, name := idle.popleft(), actions[name])
                open_[id] = sample
                sent.append(sample)
            if not open_:
                break
            for id in self._hear():
                sample = open_.pop(id, None)  # type: ignore[assignment]
                if sample is not None:
                    idle.append(sample.action)
                    finished_ns = time.monotonic_ns()
        for id, (left_ns, came_ns) in self._broker.passages().items():
            if id in self.samples:
                self.samples[id].left_ns, self.samples[id].came_ns = left_ns, came_ns
        return Round(sent, finished_ns / 1e9 - begun)

    def warm(self, invoker: int, actions: Mapping[str, str], *, in_flight: int) -> None:
        """Invoke each action once."""
        waiting, open_ = deque(actions), set[str]()
        while waiting or open_:
            while waiting and len(open_) < in_flight:
                open_.add(self._send(invoker, name := waiting.popleft(), actions[name])[0])
            open_ -= set(self._hear())

    def close(self) -> None:
        self._producer.flush(5)
        self._consumer.close()

    def _send(self, invoker: int, action: str, revision: str) -> tuple[str, Sample]:
        id = uuid.uuid4().hex
        message = {
            "transid": [id, time.time_ns() // 1_000_000],
            "action": {"path": "guest", "name": action, "version": "0.0.1"},
            "revision": revision,
            "user": USER,
            "activationId": id,
            "rootControllerIndex": {"asString": self._controller, "instanceType": "controller"},
            "blocking": True,
            "content": {},
            "initArgs": [],
            "lockedArgs": {},
        }
        sample = self.samples[id] = Sample(action, time.monotonic_ns())
        self._producer.produce(f"invoker{invoker}", json.dumps(message).encode())
        return id, sample

    def _hear(self) -> Sequence[str]:
        """The activations that have completed since; waits for some."""
        until_s = time.monotonic() + ANSWER_S
        while True:
            self._producer.poll(0)
            heard = self._consumer.consume(num_messages=1, timeout=1.0)
            heard += self._consumer.consume(num_messages=100, timeout=0)  # what is there; more would be waited for
            now_ns = time.monotonic_ns()
            values = [value for record in heard if isinstance(value := record.value(), bytes)]
            completed = [id for value in values if (id := self._note(json.loads(value), now_ns))]
            if completed:
                return completed
            if time.monotonic() > until_s:
                raise ValueError(f"no completion within {ANSWER_S:g} s")

    def _note(self, ack: Mapping[str, Any], now_ns: int) -> str | None:
        response = ack.get("response")
        id = str(response["activationId"]) if isinstance(response, dict) else str(ack.get("activationId", response))
        sample = self.samples[id]
        if isinstance(response, dict):
            if response["response"]["statusCode"] != 0:
                raise ValueError(f"an activation of {sample.action} has failed: {response['response']}")
            notes = {note["key"]: note["value"] for note in response["annotations"]}
            sample.result_ns = now_ns
            sample.container_ns = response["response"]["result"]["ns"]
            sample.is_warm = notes["instar"]["start"] == "warm"
        if "instance" not in ack:
            return None
        sample.completions += 1
        return id
