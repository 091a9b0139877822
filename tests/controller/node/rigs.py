"""A whole node over the twins: a bus and a database in memory, containers made of threads.

`Cluster` is what outlives a node: the bus, the databases, and what was run in any container. `Node` is one life of a
node on it.
"""

from __future__ import annotations

import itertools
import json
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from instar_controller.clients.clock import SystemClock
from instar_controller.clients.memory import MemoryWeights
from instar_controller.clients.memory_bus import MemoryBus
from instar_controller.clients.memory_couch import MemoryDatabase, MemoryEntities, MemoryRecords, MemorySubjects
from instar_controller.clients.threads import ThreadContainers
from instar_controller.cluster_ports import Bus, Slate, TopicSettings
from instar_controller.engines.acknowledging import AckTopics
from instar_controller.engines.blacklist import Blacklist
from instar_controller.engines.fetching import Actions
from instar_controller.engines.intake import IntakeSettings
from instar_controller.engines.invoker import EngineSettings, Invoker
from instar_controller.engines.node import Backlog, Node, NodeSettings
from instar_controller.engines.outbox import OutboxSettings
from instar_controller.engines.preparing import Preparation
from instar_controller.engines.scheduler import PoolSettings
from instar_controller.engines.sources import InvokerSource
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import Containers, Ending, PendingLog
from instar_controller.whisk import acks
from instar_controller.whisk.acks import Ack, CombinedMessage, CompletionMessage, ResultMessage
from instar_controller.whisk.activation import Activation
from instar_controller.whisk.instances import InvokerInstance
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.limits import Limits
from instar_controller.whisk.manifest import Manifest
from instar_controller.whisk.manifest import parse as parse_manifest
from instar_controller.whisk.response import Outcome
from instar_controller.whisk.store_level import StoreLevels
from instar_controller.whisk.values import Json

WAIT_S = 30.0  # for anything that is sure to happen
WORK, ANSWERS, EVENTS = "invoker0", "completed0", "events"
ECHO = "def main(args):\n    return args\n"
TALKING = "def main(args):\n    print('a line')\n    return args\n"
INSTANCE = InvokerInstance(0, 2 << 30)

MANIFEST: Manifest = parse_manifest(
    {
        "runtimes": {
            "python": [{"kind": "python:3", "default": True, "image": {"name": "python"}}],
            "pytorch": [{"kind": "pytorch:2", "default": True, "image": {"name": "pytorch"}}],
        }
    }
)

_numbers = itertools.count(1)


def new_id() -> str:
    """The id of another activation."""
    return f"{next(_numbers):032x}"


class WatchedContainers:
    """Containers made of threads; knows what each was asked, and a test may forestall any exchange."""

    def __init__(self, inner: ThreadContainers) -> None:
        self.inner = inner
        self.asked: queue.SimpleQueue[tuple[ContainerId, str, bytes]] = queue.SimpleQueue()
        self.before_start: Callable[[ContainerId, str], None] = lambda *_: None
        self.before_post: Callable[[ContainerId, str, bytes], Outcome | None] = lambda *_: None

    def start(
        self,
        id: ContainerId,
        *,
        kind: str,
        memory_mb: int,
        key: ContainerKey | None,
        on_exit: Callable[[ContainerId], None],
    ) -> None:
        self.before_start(id, kind)
        self.inner.start(id, kind=kind, memory_mb=memory_mb, key=key, on_exit=on_exit)

    def post(self, id: ContainerId, path: str, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        self.asked.put((id, path, body))
        forestalled = self.before_post(id, path, body)
        if forestalled is not None:
            return forestalled
        return self.inner.post(id, path, body, timeout_ms=timeout_ms, max_reply_bytes=max_reply_bytes)

    def transform(self, id: ContainerId, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        return self.inner.transform(id, body, timeout_ms=timeout_ms, max_reply_bytes=max_reply_bytes)

    def begin_log(self, id: ContainerId, *, limit_bytes: int, mark: str | None = None) -> PendingLog:
        return self.inner.begin_log(id, limit_bytes=limit_bytes, mark=mark)

    def pause(self, id: ContainerId) -> None:
        self.inner.pause(id)

    def resume(self, id: ContainerId) -> None:
        self.inner.resume(id)

    def remove(self, id: ContainerId) -> Ending | None:
        return self.inner.remove(id)

    def close(self) -> None:
        self.inner.close()


class WatchedRecords(MemoryRecords):
    """Records without a queue, of which a test can say that there is no room."""

    def __init__(self, database: MemoryDatabase) -> None:
        super().__init__(database)
        self._changed = threading.Condition()
        self._is_full = False
        self.has_been_asked = threading.Event()  # whether there is room, when there was none
        self._written: list[Activation] = []

    def put_activation(self, activation: Activation) -> None:
        super().put_activation(activation)
        with self._changed:
            self._written.append(activation)
            self._changed.notify_all()

    def wait_for_room(self, *, timeout_s: float) -> bool:
        with self._changed:
            if self._is_full:
                self.has_been_asked.set()
            return self._changed.wait_for(lambda: not self._is_full, timeout_s)

    def fill(self, *, is_full: bool) -> None:
        with self._changed:
            self._is_full = is_full
            self._changed.notify_all()

    def wait_for(self, count: int) -> list[Activation]:
        """All that were written, once there are so many."""
        with self._changed:
            assert self._changed.wait_for(lambda: len(self._written) >= count, WAIT_S), self._written
            return list(self._written)


class Counting:
    """An observer that remembers, and can be waited for."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._changed = threading.Condition()

    def read(self, fate: str) -> None:
        self._count(f"read {fate}")

    def reached(self, stage: str, seconds: float) -> None:
        assert seconds >= 0
        self._count(f"reached {stage}")

    def sent(self, kind: str) -> None:
        self._count(f"sent {kind}")

    def not_sent(self, kind: str) -> None:
        self._count(f"not sent {kind}")

    def finished(self, activation: Activation) -> None:
        self._count("finished")

    def wait_for(self, what: str, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self.counts[what] >= count, WAIT_S), self.counts

    def _count(self, what: str) -> None:
        with self._changed:
            self.counts[what] += 1
            self._changed.notify_all()


@dataclass
class Cluster:
    """What outlives nodes."""

    world: dict[str, object] = field(default_factory=dict)
    bus: MemoryBus = field(default_factory=MemoryBus)
    whisks: MemoryDatabase = field(default_factory=MemoryDatabase)
    subjects: MemorySubjects = field(default_factory=MemorySubjects)
    activations: MemoryDatabase = field(default_factory=MemoryDatabase)

    def __post_init__(self) -> None:
        for topic in (WORK, ANSWERS, EVENTS):
            self.bus.ensure_topic(topic, TopicSettings())

    def put_action(
        self,
        name: str = "f",
        code: Json = ECHO,
        *,
        kind: str = "python:3",
        memory_mb: int = 256,
        timeout_ms: int = 60_000,
        logs_mb: int = 10,
        concurrency: int = 1,
        annotations: Mapping[str, Json] | None = None,
        more: Mapping[str, Json] | None = None,
    ) -> str:
        """Write an action of `guest`, or write it anew; its revision."""
        id = f"guest/{name}"
        path, _, simple = id.rpartition("/")
        notes: Mapping[str, Json] = {"provide-api-key": False, **(annotations or {})}
        document: dict[str, Json] = {
            "_id": id,
            "entityType": "action",
            "namespace": path,
            "name": simple,
            "version": "0.0.1",
            "publish": False,
            "exec": {"kind": kind, "code": code, "binary": False},
            "parameters": [],
            "limits": {"timeout": timeout_ms, "memory": memory_mb, "logs": logs_mb, "concurrency": concurrency},
            "annotations": [{"key": key, "value": value} for key, value in notes.items()],
            "updated": 0,
            **(more or {}),
        }
        old = self.whisks.documents().get(id)
        return self.whisks.put(document if old is None else {**document, "_rev": old["_rev"]})

    def invoke(self, name: str, content: Mapping[str, Json], *, blocking: bool) -> str:
        """The same as `send`, with the id among the arguments, and certain to arrive."""
        id = new_id()
        was_down = not self.bus.is_up()
        self.bus.come_back()
        self.send(name, {**content, "id": id}, activationId=id, blocking=blocking)
        if was_down:
            self.bus.go_down()
        return id

    def send(self, name: str = "f", content: Json = None, **changes: Json) -> str:
        """Have a controller invoke an action of `guest`; the activation's id."""
        id = str(changes.get("activationId") or new_id())
        path, _, simple = f"guest/{name}".rpartition("/")
        document = self.whisks.documents().get(f"guest/{name}")
        message: dict[str, Json] = {
            "transid": [f"request-{id}", time.time_ns() // 1_000_000],
            "action": {"path": path, "name": simple, "version": "0.0.1"},
            "revision": None if document is None else document["_rev"],
            "user": {
                "subject": "guest",
                "namespace": {"name": "guest", "uuid": "the-uuid"},
                "authkey": {"api_key": "the-uuid:the-key"},
                "rights": [],
                "limits": {},
            },
            "activationId": id,
            "rootControllerIndex": {"asString": "0", "instanceType": "controller"},
            "blocking": True,
            "content": {} if content is None else content,
            "initArgs": [],
            "lockedArgs": {},
            **changes,
        }
        self.bus.send(WORK, json.dumps(message).encode())
        return id

    def answers(self) -> list[Ack]:
        """All acknowledgements so far."""
        return [acks.parse(value) for value in self.bus.sent(ANSWERS)]

    def wait_for_answers(self, count: int) -> list[Ack]:
        return [acks.parse(value) for value in self.bus.wait_for(ANSWERS, count, timeout_s=WAIT_S)]

    def wait_until(self, is_so: Callable[[], bool]) -> None:
        """Return once something is so that answers to controllers bring about."""
        bus = self.bus
        with bus._changed:
            assert bus._changed.wait_for(is_so, WAIT_S)

    def records(self) -> dict[str, Any]:
        """The stored records by their activation's id."""
        return {str(document["activationId"]): document for document in self.activations.documents().values()}


@dataclass
class Life:
    """One life of a node, with all its parts."""

    cluster: Cluster
    pool: PoolSettings = field(default_factory=lambda: PoolSettings(memory_mb=2048))
    engine_settings: EngineSettings = field(default_factory=lambda: EngineSettings(log_wait_ms=300))
    intake: IntakeSettings = field(default_factory=lambda: IntakeSettings(poll_s=0.05, retry_s=0.01))
    limits: Limits = field(default_factory=Limits)
    manifest: Manifest = MANIFEST
    instance: InvokerInstance = INSTANCE
    runs_health_tests: bool = False
    store_levels: StoreLevels = field(default_factory=StoreLevels)
    with_events: bool = False
    slate: Slate | None = None
    bus: Bus | None = None  # None: the cluster's, as it is
    records: Backlog | None = None  # None: straight into the cluster's database
    wrap: Callable[[Containers], Containers] = lambda containers: containers
    answers_s: float = 1.0

    def __post_init__(self) -> None:
        self.is_closed = False
        cluster = self.cluster
        clock = SystemClock()
        self.containers = WatchedContainers(ThreadContainers(cluster.world))
        self.written = WatchedRecords(cluster.activations)
        records = self.records or self.written
        self.observer = Counting()
        self.engine = Invoker(
            self.wrap(self.containers),
            records,
            clock,
            MemoryWeights(),
            pool=self.pool,
            settings=replace(self.engine_settings, queue_length=1 << 16),
        )
        self.blacklist = Blacklist(cluster.subjects)
        self.actions = Actions(MemoryEntities(cluster.whisks), self.manifest)
        preparation = Preparation(
            self.actions,
            self.blacklist,
            clock,
            limits=self.limits,
            keys={},
            runs_health_tests=self.runs_health_tests,
            store_levels=self.store_levels,
        )
        self.node = Node(
            self.bus or cluster.bus,
            InvokerSource(WORK, self.instance),
            preparation,
            self.engine,
            records,
            clock,
            self.observer,
            AckTopics(lambda name: f"completed{name}", EVENTS if self.with_events else None),
            NodeSettings(
                self.intake, OutboxSettings(first_pause_s=0.01, longest_pause_s=0.05), answers_s=self.answers_s
            ),
            slate=self.slate,
        )

    def start(self) -> Life:
        self.blacklist.start()
        self.engine.start()
        self.node.start()
        return self

    def close(self, drain_s: float = WAIT_S) -> None:
        if self.is_closed:
            return
        self.is_closed = True
        self.node.close(drain_s=drain_s)
        self.blacklist.close()


def kinds_of(answers: Sequence[Ack], id: str) -> list[str]:
    """The kinds of the acknowledgements of one activation, in order."""
    return [type(ack).__name__ for ack in answers if ack.activation_id == id]


def completions(answers: Sequence[Ack]) -> Counter[str]:
    """How often each activation's slot was freed."""
    return Counter(ack.activation_id for ack in answers if isinstance(ack, (CompletionMessage, CombinedMessage)))


def results(answers: Sequence[Ack]) -> Counter[str]:
    """How often each activation's result was delivered."""
    return Counter(ack.activation_id for ack in answers if isinstance(ack, (ResultMessage, CombinedMessage)))
