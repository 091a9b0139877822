"""A stock controller's side of the bus, as far as tests need it: sends activations and reads what comes back.

It uses the Kafka client directly, below our own, and looks at the messages' JSON and not at what our parsers make of
them: it judges them.
"""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

WAIT_S = 60.0  # for anything that is sure to happen
USER = {
    "subject": "guest",
    "namespace": {"name": "guest", "uuid": "23bc46b1-71f6-4ed5-8c54-816aa4f8c502"},
    "authkey": {"api_key": "23bc46b1-71f6-4ed5-8c54-816aa4f8c502:" + "k" * 64},
    "rights": ["READ", "PUT", "DELETE", "ACTIVATE"],
    "limits": {},
}


def now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class Ack:
    """One acknowledgement, as it came."""

    message: dict[str, Any]
    heard_ns: int

    @property
    def frees_the_slot(self) -> bool:
        return "instance" in self.message

    @property
    def has_result(self) -> bool:
        return "response" in self.message

    @property
    def activation_id(self) -> str:
        response = self.message.get("response")
        if "activationId" in self.message:
            return str(self.message["activationId"])
        return str(response["activationId"] if isinstance(response, dict) else response)


@dataclass
class Sent:
    """One activation that was sent, and what came back for it."""

    id: str
    transid: list[Any]
    sent_ns: int
    acks: list[Ack] = field(default_factory=list)

    @property
    def completions(self) -> list[Ack]:
        return [ack for ack in self.acks if ack.frees_the_slot]

    @property
    def results(self) -> list[Ack]:
        return [ack for ack in self.acks if ack.has_result]

    @property
    def activation(self) -> dict[str, Any]:
        """The record in the result."""
        (result,) = self.results
        found: dict[str, Any] = result.message["response"]
        return found

    @property
    def response(self) -> tuple[int, Any]:
        """Status code and what the function returned."""
        found = self.activation["response"]
        return found["statusCode"], found.get("result")

    @property
    def annotations(self) -> dict[str, Any]:
        return {note["key"]: note["value"] for note in self.activation["annotations"]}


class Controller:
    """One controller. `close` it at the end; it asserts nothing by itself."""

    def __init__(self, bootstrap: str, *, name: str = "0", prefix: str = "") -> None:
        self.name = name
        self._prefix = prefix
        self._topics = (f"{prefix}completed{name}", f"{prefix}health")
        self._completed = self._topics[0]
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self.make_topics()
        self._producer = Producer({"bootstrap.servers": bootstrap, "acks": 1, "linger.ms": 0, "log_level": 0})
        self._consumer = Consumer(
            {"bootstrap.servers": bootstrap, "group.id": "judge", "enable.auto.commit": False, "log_level": 0}
        )
        self._consumer.assign(self._everything())
        self._changed = threading.Condition()  # guards what follows
        self._sent: dict[str, Sent] = {}
        self.pings: list[dict[str, Any]] = []
        self.strange: list[bytes] = []  # what no controller could read
        self._markers: set[tuple[str, str]] = set()  # our own, by topic
        self._is_over = threading.Event()
        # What is to be read instead, for the reader itself to do: a consumer cannot be told while it is asked.
        self._orders: queue.SimpleQueue[tuple[list[TopicPartition], threading.Event]] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name="controller", daemon=True)
        self._reader.start()

    def make_topics(self) -> None:
        """As a real controller does first of all."""
        topics = [NewTopic(topic, num_partitions=1, replication_factor=1) for topic in self._topics]
        for made in self._admin.create_topics(topics).values():
            try:
                made.result(30)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise

    @contextlib.contextmanager
    def deaf(self) -> Iterator[tuple[str, ...]]:
        """Hear nothing, while these topics go and are made again; after that hear all that comes in the new ones."""
        self._hear_from([])
        yield self._topics
        self._hear_from(self._everything())

    def invoke(
        self,
        action: str,
        content: Any = None,
        *,
        invoker: str = "invoker0",
        revision: str | None = None,
        blocking: bool = True,
        id: str | None = None,
        start_ms: int | None = None,
        **more: Any,
    ) -> Sent:
        """Send an activation of `ns/[pkg/]name`."""
        path, _, name = action.rpartition("/")
        sent = Sent(id or uuid.uuid4().hex, [uuid.uuid4().hex, now_ms() if start_ms is None else start_ms], 0)
        message = {
            "transid": sent.transid,
            "action": {"path": path, "name": name, "version": "0.0.1"},
            "revision": revision,
            "user": USER,
            "activationId": sent.id,
            "rootControllerIndex": {"asString": self.name, "instanceType": "controller"},
            "blocking": blocking,
            "content": {} if content is None else content,
            "initArgs": [],
            "lockedArgs": {},
            **more,
        }
        with self._changed:
            self._sent[sent.id] = sent
        sent.sent_ns = time.monotonic_ns()
        self.send(invoker, json.dumps(message).encode())
        return sent

    def send(self, topic: str, value: bytes) -> None:
        """Send whatever it is."""
        self._producer.produce(f"{self._prefix}{topic}", value)
        self._producer.poll(0)

    def flush(self) -> None:
        self._producer.flush(30)

    def completion(self, sent: Sent, *, wait_s: float = WAIT_S) -> Ack:
        """Wait for its completion."""
        self.wait(lambda: bool(sent.completions), f"a completion of {sent.id}", wait_s=wait_s)
        return sent.completions[0]

    def result(self, sent: Sent, *, wait_s: float = WAIT_S) -> Any:
        """Wait for its result: what the action returned."""
        self.wait(lambda: bool(sent.results), f"a result of {sent.id}", wait_s=wait_s)
        return sent.activation["response"].get("result")

    def wait(self, condition: Callable[[], bool], what: str, *, wait_s: float = WAIT_S) -> None:
        """Wait until something has been heard."""
        with self._changed:
            assert self._changed.wait_for(condition, wait_s), f"no {what} in {wait_s} s"

    def hear_all(self) -> None:
        """Hear all that was sent to it so far: a program that has ended has said its last words, but they may not
        have been heard yet."""
        marker = uuid.uuid4().hex
        for topic in self._topics:
            self._producer.produce(topic, json.dumps(marker).encode(), partition=0)
        self._producer.poll(0)
        self.wait(lambda: all((topic, marker) in self._markers for topic in self._topics), "marker of our own")

    def wait_for_ping(self, *, enabled: bool = True, invoker: int = 0) -> dict[str, Any]:
        """Wait for a ping from now on."""
        known = len(self.pings)

        def found() -> list[dict[str, Any]]:
            return [
                ping
                for ping in self.pings[known:]
                if ping["name"]["instance"] == invoker and ping["isEnabled"] is enabled
            ]

        self.wait(lambda: bool(found()), f"ping of invoker{invoker}, enabled: {enabled}")
        return found()[0]

    def close(self) -> None:
        self._is_over.set()
        self._reader.join(30)
        self._consumer.close()
        self._producer.flush(5)

    def _everything(self) -> list[TopicPartition]:
        return [TopicPartition(topic, 0, OFFSET_BEGINNING) for topic in self._topics]

    def _hear_from(self, places: list[TopicPartition]) -> None:
        """Read from here on, once this returns."""
        is_done = threading.Event()
        self._orders.put((places, is_done))
        assert is_done.wait(WAIT_S)

    def _read(self) -> None:
        while not self._is_over.is_set():
            with contextlib.suppress(queue.Empty):
                places, is_done = self._orders.get_nowait()
                self._consumer.assign(places)
                is_done.set()
            record = self._consumer.poll(0.2)
            if record is None or record.error() is not None:
                continue
            topic, value = record.topic(), record.value()
            assert topic is not None and isinstance(value, bytes)
            with self._changed:
                self._hear(topic, value, time.monotonic_ns())
                self._changed.notify_all()

    def _hear(self, topic: str, value: bytes, heard_ns: int) -> None:
        message = json.loads(value)
        if isinstance(message, str):
            self._markers.add((topic, message))
            return
        if topic != self._completed:
            self.pings.append(message)
            return
        ack = Ack(message, heard_ns)
        sent = self._sent.get(ack.activation_id)
        if sent is None:
            self.strange.append(value)
        else:
            sent.acks.append(ack)


def action(name: str, code: str, annotations: Mapping[str, Any]) -> Mapping[str, Any]:
    """The document of an action `ns/[pkg/]name`."""
    path, _, short = name.rpartition("/")
    return {
        "_id": name,
        "entityType": "action",
        "namespace": path,
        "name": short,
        "version": "0.0.1",
        "publish": False,
        "exec": {"kind": "python:3", "code": code, "binary": False},
        "parameters": [],
        "limits": {"timeout": 60_000, "memory": 256, "logs": 10, "concurrency": 1},
        "annotations": [
            {"key": key, "value": value} for key, value in {"provide-api-key": False, **annotations}.items()
        ],
        "updated": now_ms(),
    }
