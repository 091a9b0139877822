"""A small cluster on a simulated clock: a controller, dispatchers, nodes and a bus, none of which acts by itself.

Nodes are real as far as the bus sees them (`Membership`), and in what they owe and how they acknowledge it (`Debts`,
`Receipt`); their containers are a set of activations that run. Each process has its own way to the bus, which can be
cut, or lie: then the bus has a message and its sender is told that nobody knows. A process that is killed does
nothing more; what it had given to the bus may still arrive.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from instar_controller.clients.memory_bus import MemoryBus
from instar_controller.cluster_ports import Bus, From, Position, Subscription, TopicSettings
from instar_controller.engines.acknowledging import Acknowledger, AckTopics, Receipt
from instar_controller.engines.debts import Debts
from instar_controller.engines.dispatcher import Dispatcher, DispatcherSettings
from instar_controller.engines.evidence import ReadingSettings
from instar_controller.engines.heartbeats import NodeState
from instar_controller.engines.membership import Membership
from instar_controller.engines.outbox import Parcel
from instar_controller.engines.sources import Assignment, InvokerSource
from instar_controller.engines.topics import Topics
from instar_controller.errors import BusError
from instar_controller.policies import dispatch
from instar_controller.policies.dispatch import Need
from instar_controller.whisk import acks
from instar_controller.whisk.acks import CompletionMessage, ResultMessage
from instar_controller.whisk.activation import Activation, ActivationId
from instar_controller.whisk.activation_message import ActivationMessage
from instar_controller.whisk.instances import InvokerInstance
from instar_controller.whisk.response import Response, Status

CONTROLLER = "completed0"
AT_ONCE = ReadingSettings(send_s=0.0, poll_s=0.0, whole_s=10.0)
ACTION_MB = 256
AGAIN = "again"  # how the actions are called that may run twice


class Clock:
    def __init__(self) -> None:
        self.s = 1000.0

    def now_ms(self) -> int:
        return int(self.s * 1000)

    def now_s(self) -> float:
        return self.s


class Line:
    """One process's way to the bus."""

    def __init__(self, bus: MemoryBus) -> None:
        self._bus = bus
        self.is_cut = False
        self.lies_about = ""  # topics that begin like this; none if empty

    def ensure_topic(self, topic: str, settings: TopicSettings) -> None:
        self._check()
        self._bus.ensure_topic(topic, settings)

    def subscribe(self, topic: str, group: str, *, begin: From) -> Subscription:
        self._check()
        return _Reader(self, self._bus.subscribe(topic, group, begin=begin))

    def send(self, topic: str, value: bytes) -> Future[None]:
        if not self.is_cut and not (self.lies_about and topic.startswith(self.lies_about)):
            return self._bus.send(topic, value)
        if not self.is_cut:
            self._bus.send(topic, value)
        lost: Future[None] = Future()
        lost.set_exception(BusError(f"nobody knows whether {topic} has a message"))
        return lost

    def committed(self, topic: str, group: str) -> Mapping[int, Position]:
        self._check()
        return self._bus.committed(topic, group)

    def is_up(self) -> bool:
        return not self.is_cut

    def close(self) -> None:
        pass

    def _check(self) -> None:
        if self.is_cut:
            raise BusError("this process is cut off")


class _Reader:
    def __init__(self, line: Line, inner: Subscription) -> None:
        self._line = line
        self._inner = inner

    def poll(self, *, timeout_s: float, most: int) -> list:  # type: ignore[type-arg]
        self._line._check()
        return list(self._inner.poll(timeout_s=timeout_s, most=most))

    def commit(self, positions: Mapping[int, Position]) -> None:
        self._line._check()
        self._inner.commit(positions)

    def positions(self) -> Mapping[int, Position]:
        return self._inner.positions()

    def ends(self) -> Mapping[int, int]:
        return self._inner.ends()

    def close(self) -> None:
        self._inner.close()


class Outgoing:
    """An outbox without a thread: what was not taken is sent again when it is asked to."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.waiting: list[Parcel] = []

    def send(self, parcel: Parcel) -> None:
        if not parcel.is_wanted():
            parcel.on_sent()
            return
        self._bus.send(parcel.topic, parcel.value).add_done_callback(lambda sent: self._heard(parcel, sent))

    def again(self) -> None:
        waiting, self.waiting = self.waiting, []
        for parcel in waiting:
            self.send(parcel)

    def _heard(self, parcel: Parcel, sent: Future[None]) -> None:
        if sent.exception() is None:
            parcel.on_sent()
        else:
            self.waiting.append(parcel)


class Observer:
    """Counts which activations are told to be finished, by whatever process."""

    def __init__(self, counted: Counter[ActivationId] | None = None) -> None:
        self.counted = Counter() if counted is None else counted

    def read(self, fate: str) -> None: ...
    def reached(self, stage: str, seconds: float) -> None: ...
    def sent(self, kind: str) -> None: ...
    def not_sent(self, kind: str) -> None: ...

    def finished(self, activation: Activation) -> None:
        self.counted[activation.activation_id] += 1


@dataclass
class Kept:
    """The records that were stored."""

    records: list[Activation] = field(default_factory=list)

    def put_activation(self, activation: Activation) -> None:
        self.records.append(activation)


def needs(message: ActivationMessage) -> Need:
    name = message.action.full_name
    function = dispatch.function(message.user.namespace, name, message.revision)
    return Need(function, ACTION_MB, may_run_twice=message.action.name.startswith(AGAIN))


class World:
    """All of it."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.bus = MemoryBus(self.clock)
        self.kept = Kept()
        self.topics = Topics()
        self.bus.ensure_topic(CONTROLLER, TopicSettings())
        for number in (0, 1):
            self.bus.ensure_topic(f"invoker{number}", TopicSettings())
        self._answers = self.bus.subscribe(CONTROLLER, CONTROLLER, begin=From.EARLIEST)
        self.results: Counter[ActivationId] = Counter()
        self.completions: Counter[ActivationId] = Counter()
        self.system_errors: Counter[ActivationId] = Counter()
        self.starts: Counter[ActivationId] = Counter()
        self.joined: Counter[ActivationId] = Counter()
        self.counted: Counter[ActivationId] = Counter()  # how often processes have told that it is finished
        self.sent: dict[ActivationId, str] = {}  # the names of their actions

    def invoke(self, name: str, *, number: int = 0, blocking: bool = True) -> ActivationId:
        """A controller sends an activation to an invoker."""
        id = ActivationId(f"{len(self.sent):032x}")
        self.sent[id] = name
        message = {
            "transid": [f"t{len(self.sent)}", self.clock.now_ms()],
            "action": {"path": "guest", "name": name, "version": "0.0.1"},
            "revision": "1-a",
            "user": {"subject": "guest", "namespace": {"name": "guest", "uuid": "u"}, "authkey": {}, "rights": []},
            "activationId": id,
            "rootControllerIndex": {"asString": "0", "instanceType": "controller"},
            "blocking": blocking,
            "content": {},
            "initArgs": [],
            "lockedArgs": {},
            "unheard": "of",
        }
        self.bus.send(f"invoker{number}", json.dumps(message).encode()).result(0)
        return id

    def read_answers(self) -> None:
        """The controller reads what it was answered."""
        try:
            found = self._answers.poll(timeout_s=0.0, most=1000)
            for message in found:
                ack = acks.parse(message.value)
                if not isinstance(ack, CompletionMessage):
                    self.results[ack.activation_id] += 1
                if not isinstance(ack, ResultMessage):
                    self.completions[ack.activation_id] += 1
                    self.system_errors[ack.activation_id] += ack.is_system_error
            if found:
                self._answers.commit({0: Position(found[-1].offset + 1)})
        except BusError:
            pass

    def open(self) -> set[ActivationId]:
        """What the controller waits for."""
        return {id for id in self.sent if not self.completions[id]}


class DispatcherProcess:
    """One run of a dispatcher."""

    def __init__(
        self, world: World, number: int = 0, *, owner: str = "", settings: DispatcherSettings | None = None
    ) -> None:
        self.line = Line(world.bus)
        self.outgoing = Outgoing(self.line)
        instance = InvokerInstance(number, 1 << 30)
        acknowledger = Acknowledger(
            self.outgoing,  # type: ignore[arg-type]
            InvokerSource(f"invoker{number}", instance),
            world.clock,
            Observer(world.counted),
            AckTopics(world.topics.completed),
        )
        self.engine = Dispatcher(
            self.line,
            world.kept,
            acknowledger,
            world.clock,
            world.topics,
            instance,
            needs=needs,
            owner=owner or str(number),
            settings=settings or DispatcherSettings(poll_s=0.0, commit_s=0.0, reading=AT_ONCE),
            now=world.clock.now_s,
        )
        self.is_open = False

    def step(self, name: str) -> None:
        """One round; what the bus does to it is no news."""
        try:
            if not self.is_open:
                self.engine.open()
                self.is_open = True
            getattr(self.engine, name)()
            self.outgoing.again()
        except BusError:
            pass

    def all(self) -> None:
        for name in ("take", "listen", "hear", "watch", "take"):
            self.step(name)


class NodeProcess:
    """One process of a node. It takes over, begins, answers and completes when it is told to."""

    def __init__(self, world: World, name: str, *, memory_mb: int = 512) -> None:
        self.world = world
        self.name = name
        self.line = Line(world.bus)
        self.membership = Membership(
            self.line,
            world.topics,
            name,
            describe=lambda: NodeState(memory_mb, None, {}),
            owner=name,
            now=world.clock.now_s,
        )
        self._reader: Subscription | None = None
        self._position = 0
        self._read: list[Assignment] = []  # and not committed
        self._due: list[Assignment] = []
        self._outgoing = Outgoing(self.membership.answers)
        self._observer = Observer(world.counted)
        self._acknowledger = Acknowledger(
            self._outgoing,  # type: ignore[arg-type]
            self.membership,
            world.clock,
            self._observer,
            AckTopics(world.topics.completed),
        )
        self._debts = Debts()
        self.running: list[ActivationMessage] = []
        self.answered: list[Activation] = []

    def beat(self) -> None:
        if self._has_begun():
            self.membership.heart.beat()

    def take(self) -> None:
        """Read, commit, enter into the book: as the intake does."""
        if not self._has_begun():
            return
        assert self._reader is not None
        try:
            for message in self._reader.poll(timeout_s=0.0, most=2):
                found = self.membership.read(message)
                self._position = message.offset + 1
                if found is not None:
                    self._read.append(found)
            self._reader.commit({0: Position(self._position)})
        except BusError:
            return
        taken, self._read = self._read, []
        self.membership.take_over(self._position, taken)
        self._due += taken

    def begin(self) -> None:
        """Begin the oldest that is taken over, or have it join its run that is under way."""
        if not self._due:
            return
        it = self._due.pop(0)
        message, id = it.message, it.message.activation_id
        if not self.membership.may_act(it):
            self.membership.give_up(it)
            return
        receipt = Receipt(self._acknowledger, self._observer, it, has_log=True, read_s=0.0, on_sent=lambda: None)
        if self._debts.join(id, receipt):
            self.world.joined[id] += 1
        else:
            invocation: Any = SimpleNamespace(activation_id=id)
            self._debts.owe(invocation, receipt)
            self.world.starts[id] += 1
            self.running.append(message)

    def answer(self) -> None:
        """What runs longest has an answer."""
        if self.running:
            activation = _activation(self.running.pop(0))
            self._debts.answer(activation)
            self.answered.append(activation)

    def complete(self) -> None:
        """What was answered first is finished; what the bus did not take is sent again, if it still may be."""
        if self.answered:
            self._debts.finish(self.answered.pop(0))
        self._outgoing.again()

    def all(self) -> None:
        self.beat()
        self.take()
        while self._due:
            self.begin()
        for _ in range(len(self.running)):
            self.answer()
        for _ in range(len(self.answered) + 1):
            self.complete()

    def go(self) -> None:
        """Say that it goes, as its end does."""
        self.membership.heart.say_goodbye()

    def _has_begun(self) -> bool:
        if self._reader is None:
            try:
                self.membership.prepare(TopicSettings())
                self._reader = self.line.subscribe(self.membership.topic, self.membership.group, begin=From.EARLIEST)
            except BusError:
                return False
            begun = self._reader.positions().get(0)
            self._position = 0 if begun is None else begun.offset
            self.membership._ledger.begin(self._position)
            self.membership.heart.begin()
        return True


def joined(dispatcher: DispatcherProcess, node: NodeProcess) -> None:
    """Have the dispatcher know the node: one heartbeat could be an old one, of a node that is dead by now."""
    for _ in range(2):
        node.beat()
        dispatcher.all()


def settled(world: World, *processes: DispatcherProcess | NodeProcess, seconds: int = 5) -> None:
    """Have these do all that they have to do, for so long."""
    for _ in range(seconds):
        for process in processes:
            process.all()
        world.read_answers()
        world.clock.s += 1
    for process in processes:
        process.all()
    world.read_answers()


def _activation(message: ActivationMessage) -> Activation:
    return Activation(
        activation_id=message.activation_id, namespace="guest", name=message.action.name, version="0.0.1",
        subject="guest", start=1, end=2, duration=1, response=Response(Status.SUCCESS, {}), path="guest/a",
        kind="python:3", limits=None, timeout=False, wait_time=1, instar={"start": "cold"},
    )  # fmt: skip
