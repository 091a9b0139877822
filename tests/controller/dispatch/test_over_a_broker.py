"""Dispatchers and nodes over a real broker, each with its own threads: every activation is answered once.

The nodes are whole (`engines.node.Node`) but for their containers: an engine that answers when it is told to, or at
once. Where a node dies it is given up after some seconds; elsewhere nodes and dispatchers are patient, so that nobody
is given up for a machine that stood still: what such a node had is answered with an error, and rightly so.
"""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
from brokers import Broker
from planes import Kept, Observer, needs

from instar_controller.clients.clock import SystemClock
from instar_controller.clients.kafka.bus import KafkaBus
from instar_controller.clients.kafka.settings import KafkaSettings
from instar_controller.cluster_ports import From, Position, TopicSettings
from instar_controller.engines import records
from instar_controller.engines.acknowledging import Acknowledger, AckTopics, Receipt
from instar_controller.engines.dispatcher import Dispatcher, DispatcherSettings
from instar_controller.engines.heartbeats import HeartSettings, NodeState
from instar_controller.engines.membership import Membership
from instar_controller.engines.node import Node
from instar_controller.engines.outbox import Outbox
from instar_controller.engines.pinging import Pinging
from instar_controller.engines.preparing import Runnable
from instar_controller.engines.registration import Registration, RegistrationSettings
from instar_controller.engines.sources import InvokerSource
from instar_controller.engines.topics import Topics
from instar_controller.errors import BusError
from instar_controller.policies.nodes import Patience
from instar_controller.whisk import acks, pings
from instar_controller.whisk.acks import ResultMessage
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.activation_message import ActivationMessage
from instar_controller.whisk.instances import InvokerInstance
from instar_controller.whisk.response import Response, Status
from instar_controller.whisk.store_level import StoreLevel

pytestmark = pytest.mark.system

WAIT_S = 60.0  # for anything that is sure to happen


@dataclass(frozen=True)
class Times:
    """How long a node may be silent, and when it stops by itself."""

    patience: Patience
    heart: HeartSettings


PATIENT = Times(Patience(silent_s=20.0, dead_s=60.0, grace_s=20.0), HeartSettings(beat_s=0.2, fence_s=30.0))
# For tests of dead nodes. Five of these seconds `die` takes by itself, where answers still try to leave.
MORTAL = Times(Patience(silent_s=3.0, dead_s=8.0, grace_s=3.0), HeartSettings(beat_s=0.2, fence_s=6.0))


class Engine:
    """Answers at once, or keeps everything running until it is told."""

    def __init__(self, *, holds: bool) -> None:
        self.holds = holds
        self.running: list[tuple[ActivationMessage, Receipt]] = []
        self.begun = threading.Semaphore(0)

    def submit(self, invocation: Any, receipt: Receipt) -> None:
        self.running.append((invocation.message, receipt))
        self.begun.release()
        if not self.holds:
            self.answer()

    def join(self, id: ActivationId, receipt: Receipt) -> bool:
        return False

    def answer(self) -> None:
        while self.running:
            message, receipt = self.running.pop(0)
            now_ms = SystemClock().now_ms()
            receipt.finished(records.refusal(message, Response(Status.SUCCESS, {}), now_ms=now_ms))

    def close(self, *, drain_s: float, interrupted: Response) -> None:
        self.answer()


class Preparation:
    def look(self, message: ActivationMessage) -> Runnable:
        action = SimpleNamespace(limits=SimpleNamespace(logs_mb=0), annotations=())
        invocation: Any = SimpleNamespace(
            activation_id=message.activation_id, message=message, action=action, store_level=StoreLevel.NEVER
        )
        return Runnable(invocation)

    prepare = look


class NoRecords:
    def put_activation(self, record: Activation) -> None:
        pass

    def wait_for_room(self, *, timeout_s: float) -> bool:
        return True


class NodeProgram:
    """A node as `instar invoker --dispatched` puts it together."""

    def __init__(self, cluster: Cluster, name: str, *, holds: bool = False) -> None:
        self.engine = Engine(holds=holds)
        self.bus = cluster.bus()
        self.membership = Membership(
            self.bus, cluster.topics, name, describe=lambda: NodeState(2048, None, {}), settings=cluster.times.heart
        )
        self.membership.prepare(TopicSettings())
        self.node = Node(
            self.membership.answers,
            self.membership,
            Preparation(),  # type: ignore[arg-type]
            self.engine,  # type: ignore[arg-type]
            NoRecords(),
            SystemClock(),
            Observer(),
            AckTopics(cluster.topics.completed),
        )
        self.node.start()
        self._is_dead = False

    def die(self) -> None:
        """Do nothing any more, and lose the way to the bus, as by `kill -9`; the threads end all the same."""
        self._is_dead = True
        self.bus.close()
        self.node.close(drain_s=0.0)
        self.membership.close()

    def close(self) -> None:
        if not self._is_dead:
            self.membership.disable()
            self.node.close(drain_s=5.0)
            self.membership.close()


class DispatcherProgram:
    """A dispatcher as `instar dispatcher` puts it together."""

    def __init__(self, cluster: Cluster, number: int = 0) -> None:
        self.bus = cluster.bus()
        instance = InvokerInstance(number, 1 << 30)
        self.outbox = Outbox(self.bus)
        self.outbox.start()
        source = InvokerSource(cluster.topics.invoker(number), instance)
        clock = SystemClock()
        settings = DispatcherSettings(
            patience=cluster.times.patience, poll_s=0.1, commit_s=0.1, tick_s=0.2, acks_s=0.5
        )
        self.engine = Dispatcher(
            self.bus,
            cluster.kept,
            Acknowledger(self.outbox, source, clock, Observer(), AckTopics(cluster.topics.completed)),
            clock,
            cluster.topics,
            instance,
            needs=needs,
            settings=settings,
        )
        self.engine.open()
        self.engine.start()
        self._is_closed = False

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.engine.close(drain_s=5.0)
            self.outbox.close(5.0)


class Cluster:
    """A broker, and a controller that counts what it is answered."""

    def __init__(self, broker: Broker, prefix: str, stack: ExitStack, times: Times = PATIENT) -> None:
        self.times = times
        self._hosts = broker.hosts
        self._stack = stack
        self.topics = Topics(prefix)
        self.kept = Kept()
        self.sent: list[str] = []
        self.completions: Counter[str] = Counter()
        self.results: Counter[str] = Counter()
        self.system_errors: Counter[str] = Counter()
        self._numbers = itertools.count()
        self._bus = self.bus()
        self._answered = threading.Condition()
        self._is_over = False
        for topic in (self.topics.completed("0"), self.topics.invoker(0), self.topics.invoker(1)):
            self._bus.ensure_topic(topic, TopicSettings())
        self._reading = threading.Thread(target=self._read)
        self._reading.start()
        stack.callback(self._reading.join)
        stack.callback(self._end)

    def bus(self) -> KafkaBus:
        bus = KafkaBus(KafkaSettings(self._hosts, answer_s=WAIT_S, send_s=WAIT_S))
        self._stack.callback(bus.close)
        return bus

    def node(self, name: str, *, holds: bool = False) -> NodeProgram:
        made = NodeProgram(self, name, holds=holds)
        self._stack.callback(made.close)
        return made

    def dispatcher(self, number: int = 0, *, nodes: int) -> DispatcherProgram:
        """One that knows so many nodes."""
        made = DispatcherProgram(self, number)
        self._stack.callback(made.close)
        eventually(lambda: made.engine.snapshot().nodes_alive == nodes)
        return made

    def invoke(self, count: int = 1, *, number: int = 0) -> list[str]:
        ids = [f"{next(self._numbers):032x}" for _ in range(count)]
        self.sent += ids
        for id in ids:
            message = {
                "transid": [id, 1],
                "action": {"path": "guest", "name": "f", "version": "0.0.1"},
                "revision": "1-a",
                "user": {"subject": "g", "namespace": {"name": "g", "uuid": "u"}, "authkey": {}, "rights": []},
                "activationId": id,
                "rootControllerIndex": {"asString": "0", "instanceType": "controller"},
                "blocking": True,
                "content": {"text": "x" * 100},
            }
            self._bus.send(self.topics.invoker(number), json.dumps(message).encode())
        return ids

    def wait_until_answered(self) -> None:
        with self._answered:
            answered = self._answered.wait_for(lambda: all(self.completions[id] for id in self.sent), WAIT_S)
        assert answered, f"{sum(not self.completions[id] for id in self.sent)} of {len(self.sent)} are not answered"

    def check(self) -> None:
        """Everything has one completion and one result, and nothing more comes."""
        self.wait_until_answered()
        time.sleep(0.3)  # nothing tells that nothing comes
        assert {id: self.completions[id] for id in self.sent} == dict.fromkeys(self.sent, 1)
        assert {id: self.results[id] for id in self.sent} == dict.fromkeys(self.sent, 1)

    def heard(self, topic: str, count: int) -> list[bytes]:
        """The first messages of a topic."""
        self._bus.ensure_topic(topic, TopicSettings())
        reader = self._bus.subscribe(topic, "test", begin=From.EARLIEST)
        found: list[bytes] = []
        until_s = time.monotonic() + WAIT_S
        while len(found) < count and time.monotonic() < until_s:
            found += [message.value for message in reader.poll(timeout_s=0.5, most=count)]
        reader.close()
        return found

    def _end(self) -> None:
        self._is_over = True

    def _read(self) -> None:
        topic = self.topics.completed("0")
        reader = self._bus.subscribe(topic, topic, begin=From.EARLIEST)
        while not self._is_over:
            try:
                messages = reader.poll(timeout_s=0.2, most=500)
            except BusError:
                continue
            if not messages:
                continue
            with suppress(BusError):  # next time; what was read is read
                reader.commit({0: Position(messages[-1].offset + 1)})
            with self._answered:
                for message in messages:
                    ack = acks.parse(message.value)
                    if not isinstance(ack, ResultMessage):
                        self.completions[ack.activation_id] += 1
                        self.system_errors[ack.activation_id] += ack.is_system_error
                        assert ack.instance.number in (0, 1)
                    if not isinstance(ack, acks.CompletionMessage):
                        self.results[ack.activation_id] += 1
                self._answered.notify_all()
        reader.close()


def eventually(holds: Callable[[], bool]) -> None:
    until_s = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < until_s, "it does not come to that"
        threading.Event().wait(0.02)


@pytest.fixture
def cluster(broker: Broker, topic_prefix: str) -> Iterator[Cluster]:
    with ExitStack() as stack:
        yield Cluster(broker, topic_prefix, stack)


@pytest.fixture
def mortal_cluster(broker: Broker, topic_prefix: str) -> Iterator[Cluster]:
    """One whose dead are missed soon."""
    with ExitStack() as stack:
        yield Cluster(broker, topic_prefix, stack, MORTAL)


def test_everything_is_answered_once_by_two_nodes(cluster: Cluster) -> None:
    a, b = cluster.node("a"), cluster.node("b")
    dispatcher = cluster.dispatcher(nodes=2)
    cluster.invoke(200)
    cluster.check()
    assert not any(cluster.system_errors.values())
    eventually(lambda: dispatcher.engine.snapshot().open == 0)
    assert a.membership.unfinished == b.membership.unfinished == 0


def test_two_dispatchers_send_to_the_same_nodes(cluster: Cluster) -> None:
    cluster.node("a"), cluster.node("b")
    for number in (0, 1):
        cluster.dispatcher(number, nodes=2)
    for _ in range(20):
        cluster.invoke(3, number=0)
        cluster.invoke(3, number=1)
    cluster.check()
    assert not any(cluster.system_errors.values())


def test_what_a_killed_node_ran_is_answered_by_the_dispatcher(mortal_cluster: Cluster) -> None:
    cluster = mortal_cluster
    a = cluster.node("a", holds=True)
    cluster.dispatcher(nodes=1)
    cluster.invoke(3)
    for _ in range(3):
        assert a.engine.begun.acquire(timeout=WAIT_S)
    a.die()
    cluster.check()
    assert sum(cluster.system_errors.values()) == 3
    assert len(cluster.kept.records) == 3


def test_what_a_killed_node_had_not_taken_over_runs_elsewhere(mortal_cluster: Cluster) -> None:
    cluster = mortal_cluster
    a = cluster.node("a", holds=True)
    dispatcher = cluster.dispatcher(nodes=1)
    a.node.intake.stop()  # it lives, and takes nothing more
    ids = cluster.invoke(3)
    eventually(lambda: dispatcher.engine.snapshot().open == 3 and dispatcher.engine.snapshot().uncommitted == 0)
    a.die()
    cluster.node("b")
    cluster.check()
    assert not any(cluster.system_errors[id] for id in ids)


def test_a_dispatcher_that_is_replaced_under_load_loses_and_doubles_nothing(cluster: Cluster) -> None:
    cluster.node("a"), cluster.node("b")
    first = cluster.dispatcher(nodes=2)
    cluster.invoke(150)
    first.bus.close()  # as killed: it sends and commits nothing more
    first.close()
    cluster.dispatcher(nodes=2)
    cluster.invoke(50)
    cluster.check()
    assert not any(cluster.system_errors.values())


def test_a_short_outage_of_the_broker_loses_and_doubles_nothing(own_broker: Broker, topic_prefix: str) -> None:
    with ExitStack() as stack:
        cluster = Cluster(own_broker, topic_prefix, stack)
        cluster.node("a")
        cluster.dispatcher(nodes=1)
        cluster.invoke(50)
        own_broker.pause()
        threading.Event().wait(0.5)
        own_broker.resume()
        cluster.invoke(50)
        cluster.check()


def test_a_dispatcher_is_registered_with_its_nodes_memory(cluster: Cluster) -> None:
    cluster.node("a"), cluster.node("b")
    dispatcher = cluster.dispatcher(nodes=2)
    health = cluster.topics.prefix + "health"
    cluster._bus.ensure_topic(health, TopicSettings())
    made: list[Pinging] = []

    def pinging(memory_mb: int) -> Pinging:
        made.append(Pinging(dispatcher.bus, health, InvokerInstance(0, memory_mb << 20), interval_s=0.1))
        return made[0]

    registration = Registration(dispatcher.engine, pinging, RegistrationSettings(gather_s=0.1, look_s=0.1))
    registration.start()
    ping = pings.parse(cluster.heard(health, 1)[0])
    assert ping.is_enabled
    assert ping.instance.user_memory_bytes == 2 * 2048 << 20
    registration.close()
    assert not made[0].is_enabled
