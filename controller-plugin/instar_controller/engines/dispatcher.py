"""The virtual invoker: takes activations from controllers and hands them to nodes, which answer in its name.

One rule: a message of the invoker's topic is committed once it is settled, that is, once a node's topic has it or its
controller an answer; and before anything is sent, the note beside the position says where to look for it. So whenever
this process ends, the next one finds out what was sent and does not send it again:

    killed before an envelope is sent     the message is read again, and sent
    … after that, before it is committed  it is read again, found in the node's topic, and not sent
    … after an answer in a node's stead   it is found in the controller's topic
    … while a dead node's work is settled that is settled again: what was done of it is found in the topics
    … later                               nodes work on and answer; they tell the next one what is unfinished

Four rounds, each in a thread of its own, that tests call by themselves: `take` reads activations, `listen` hears the
nodes, `hear` what they have finished, and `watch` sees to all that depends on time. Each of them sends what can go by
then (`Sending`). One lock guards what they share; none of them holds it while it waits for the outside.
"""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from instar_controller import log_context
from instar_controller.cluster_ports import Bus, From, Message, Position, Records, Subscription, TopicSettings
from instar_controller.engines import heartbeats, refusals, reports
from instar_controller.engines.acknowledging import Acknowledger
from instar_controller.engines.board import Board, Life, Order
from instar_controller.engines.claim import Claim
from instar_controller.engines.committing import Committing
from instar_controller.engines.evidence import Evidence, ReadingSettings
from instar_controller.engines.listening import Listening
from instar_controller.engines.refusals import Refusals
from instar_controller.engines.rounds import Rounds
from instar_controller.engines.sending import Sending
from instar_controller.engines.settling import Settling
from instar_controller.engines.stead import Stead
from instar_controller.engines.tally import Counters, Snapshot
from instar_controller.engines.topics import Topics
from instar_controller.errors import BusError, MalformedError
from instar_controller.policies.dispatch import LeastLoaded, Need, Placement
from instar_controller.policies.nodes import Patience
from instar_controller.ports import Clock
from instar_controller.whisk import activation_message
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.activation_message import ActivationMessage
from instar_controller.whisk.instances import InvokerInstance

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DispatcherSettings:
    """Limits and times; times in seconds."""

    patience: Patience = field(default_factory=Patience)
    reading: ReadingSettings = field(default_factory=ReadingSettings)
    wait_s: float = 60.0  # in the queue; a controller gives up after 180 s at least, and a run may take 60 s twice
    most_waiting: int = 1024  # messages that are read and not sent; more stay in their topic
    most_waiting_bytes: int = 64 << 20
    batch: int = 128
    poll_s: float = 0.5
    commit_s: float = 0.2  # between two commits
    tick_s: float = 1.0
    acks_s: float = 5.0  # how old our idea may be of how far a controller has read
    topic: TopicSettings = field(default_factory=TopicSettings)  # as the invoker's is made


class Dispatcher:
    """One virtual invoker. `open` it, then `start` it, `close` it after."""

    def __init__(
        self,
        bus: Bus,
        records: Records,
        acknowledger: Acknowledger,
        clock: Clock,
        topics: Topics,
        instance: InvokerInstance,
        *,
        needs: Callable[[ActivationMessage], Need],
        owner: str | None = None,
        placement: Placement | None = None,
        settings: DispatcherSettings | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`needs` says what an activation asks of a node; it may wait, and never raises. `owner` is whose the number
        is (`Claim`); None: a new one's.
        """
        self._bus = bus
        self._topics = topics
        self._instance = instance
        self._needs = needs
        self._settings = settings or DispatcherSettings()
        self._now = now
        self._group = topics.dispatcher(instance.number)
        self._claim = Claim(bus, self._group, owner or secrets.token_hex(16), now=now)
        self._lock = threading.Lock()  # for what follows
        self._changed = threading.Condition(self._lock)
        self._board = Board(instance.number, placement or LeastLoaded(), self._settings.patience)
        self._committing = Committing(bus, topics, self._board)
        self._repeated: set[ActivationId] = set()  # that an earlier run has sent or answered
        self.counters = Counters()
        # What follows is for one thread each.
        self._asked_s = self._committed_s = self._reports_committed_s = float("-inf")
        self._readers: dict[str, Subscription] = {}
        self._has_yielded = False  # to another program that is this dispatcher by now
        self._rounds = Rounds("instar-dispatcher", pause_s=self._settings.poll_s)
        self._evidence = Evidence(bus, self._group, now=now, settings=self._settings.reading)
        self._settling = Settling(bus, self._board, self._lock, self._evidence, topics, needs=needs)
        self._stead = Stead(
            Refusals(acknowledger, records, clock, instance),
            self._board,
            self._committing,
            self.counters,
            self._changed,
        )
        self._sending = Sending(
            bus,
            topics,
            instance,
            self._board,
            self._committing,
            self._settling,
            self._stead,
            self.counters,
            self._changed,
        )
        self._listening = Listening(
            bus,
            topics.nodes,
            self._group,
            self._board,
            self._changed,
            patience=self._settings.patience,
            tick_s=self._settings.tick_s,
            commit_s=self._settings.acks_s,
            now=now,
        )

    # Its life.

    def open(self) -> None:
        """Make the topics, and find out what an earlier run has left. Raises `BusError`; then call it again."""
        number = self._instance.number
        mine, own = self._topics.invoker(number), self._topics.dispatcher(number)
        self._bus.ensure_topic(mine, self._settings.topic)
        self._bus.ensure_topic(own, heartbeats.topic(self._settings.topic))
        self._listening.open(self._settings.topic)
        for topic in (mine, own):
            if topic not in self._readers:
                self._readers[topic] = self._bus.subscribe(topic, topic, begin=From.EARLIEST)
        self._claim.take()  # whoever has it so far finds out
        note = self._committing.open(self._readers[mine].positions())
        with self._lock:
            self._board.lives.clear()
            lives = [self._board.recover(member, since) for member, since in note.nodes.items()]
        found = self._settling.recover(lives)
        self._repeated = {it.message.activation_id for it in found}
        for it in found:
            if it.place is not None:
                partition, offset = it.place
                self._committing.window.expect(partition, offset + 1)
        for controller, offset in note.acks.items():
            self._repeated |= self._evidence.completed(self._topics.completed(controller), offset, number)

    def start(self) -> None:
        """Begin with all rounds."""
        self._rounds.start(self.take, self.listen, self.hear, self.watch)

    def close(self, *, drain_s: float) -> None:
        """Take nothing more, wait until the bus has what was sent, and let go. What waits stays in its topic for the
        next run; nodes work on."""
        self._rounds.stop()
        self._evidence.close()
        self._sending.close(drain_s)
        self._rounds.join()
        try:
            if not self._has_yielded:
                self._commit_if_due(interval_s=0.0)
        except BusError as error:
            logger.warning("what was settled last is not committed, and the next run finds it out: %s", error)
        self._listening.close()
        for reader in self._readers.values():
            reader.close()

    def place_by(self, placement: Placement) -> None:
        """From now on nodes are chosen by this."""
        with self._lock:
            self._board.placement = placement

    def snapshot(self) -> Snapshot:
        with self._lock:
            alive = self._board.alive(self._now())
            lives = self._board.lives.values()
            return Snapshot(
                counters=replace(self.counters),
                nodes_alive=len(alive),
                nodes_settling=sum(life.is_over for life in lives),
                memory_mb=sum(life.beat.memory_mb for life in alive if life.beat is not None),
                busy_mb=sum(life.busy_mb for life in alive),
                waiting=len(self._board.waiting),
                open=sum(len(life.open) for life in lives),
                uncommitted=len(self._committing.window),
            )

    # Activations.

    def take(self) -> None:
        """Read activations and send them on, as far as there is room. Raises `BusError`."""
        if self._has_yielded:
            return
        self._commit_if_due(interval_s=self._settings.commit_s)
        with self._changed:
            room = self._settings.most_waiting - len(self._committing.window)
            if room <= 0 or self._committing.unsettled_bytes >= self._settings.most_waiting_bytes:
                self._changed.wait(self._settings.commit_s)
                return
        reader = self._readers[self._topics.invoker(self._instance.number)]
        timeout_s = min(self._settings.poll_s, self._settings.commit_s) if self._settings.poll_s else 0.0
        for message in reader.poll(timeout_s=timeout_s, most=min(room, self._settings.batch)):
            self._read(message)
        self._sending.send(self._now())

    def _read(self, message: Message) -> None:
        with self._lock:
            self.counters.read += 1
            place = self._committing.window.read(message.partition, message.offset)
        try:
            parsed = activation_message.parse(message.value)
        except MalformedError as error:  # nobody knows whom to answer
            logger.error("message %s of invoker%s is lost: %s", message.offset, self._instance.number, error)
            with self._lock:
                self.counters.malformed += 1
                self._committing.window.settle(place)
            return
        self._committing.meet(parsed.controller.name)
        with log_context.about(parsed.activation_id, parsed.transid.id):
            need = self._needs(parsed)
        with self._lock:
            if parsed.activation_id in self._repeated or self._board.has(parsed.activation_id):
                self.counters.repeated += 1
                self._committing.window.settle(place)
                return
            order = Order(
                message=parsed,
                value=message.value,
                need=need,
                acks_from=self._committing.acks_from(parsed.controller.name),
                waits_since_s=self._now(),
                place=place,
            )
            self._committing.take_on(order)
            self._board.add(order)

    def _commit_if_due(self, *, interval_s: float) -> None:
        now_s = self._now()
        if now_s - self._committed_s < interval_s:
            return
        with self._lock:
            entry = self._committing.due(now_s)
        if entry is None:
            return
        self._readers[self._topics.invoker(self._instance.number)].commit(entry.positions)
        self._committed_s = now_s
        with self._changed:
            self._committing.committed(entry)
            self._changed.notify_all()
        self._sending.send(self._now())

    # Nodes.

    def listen(self) -> None:
        """Hear the nodes. Raises `BusError`."""
        self._listening.listen(timeout_s=self._settings.poll_s)
        self._sending.send(self._now())

    def hear(self) -> None:
        """Hear what nodes have finished. Raises `BusError`."""
        reader = self._readers[self._topics.dispatcher(self._instance.number)]
        messages = reader.poll(timeout_s=self._settings.poll_s, most=1000)
        for message in messages:
            try:
                report = reports.parse_report(message.value)
            except MalformedError as error:
                logger.error("message %s of %s is thrown away: %s", message.offset, self._group, error)
                continue
            with self._changed:
                self.counters.finished += len(report.finished)
                for order in self._board.finished(report.member, report.finished):
                    self._committing.settle(order)
                self._changed.notify_all()
        self._sending.send(self._now())
        now_s = self._now()
        if messages and now_s - self._reports_committed_s >= self._settings.acks_s:  # reading one twice does no harm
            reader.commit({0: Position(messages[-1].offset + 1)})
            self._reports_committed_s = now_s

    # Time.

    def watch(self) -> None:
        """See to what has waited for too long, to what is doubtful, and to lives that are over. Raises `BusError`."""
        now_s = self._now()
        if now_s - self._asked_s >= self._settings.acks_s:
            self._asked_s = now_s
            if not self._claim.is_ours():
                self._yield()
                return
            self._committing.look_again()
        with self._lock:
            late = self._board.overdue(now_s, self._settings.wait_s)
            self.counters.expired += len(late)
            for order in late:
                self._stead.refuse(order, refusals.NO_NODE)
        self._stead.answer()
        with self._lock:
            lives = [life for life in self._board.lives.values() if not life.sending]
        for life in lives:
            try:
                self._look_after(life, now_s)
            except BusError as error:
                logger.warning("what node %s had is not clear yet: %s", life.member, error)
        with self._lock:
            if self._committing.may_forget():
                for member in self._board.bury_all():
                    logger.info("all that node %s had is settled", member)
            if not self._board.is_settling:
                self._settling.attempts.clear()
        self._sending.send(self._now())
        self._rounds.pause(self._settings.poll_s / 2)

    def _yield(self) -> None:
        """Another program is this dispatcher: do nothing any more, whatever may be half done."""
        logger.error("another program is dispatcher %s by now; this one does nothing any more, end it", self._group)
        self._has_yielded = True
        self._rounds.stop()
        self._sending.stop()

    def _look_after(self, life: Life, now_s: float) -> None:
        """Raises `BusError`."""
        arrived: list[Order] = []
        if life.is_over and not life.is_judged:
            owed, arrived = self._settling.settle(life, now_s=now_s)
            with self._lock:
                self.counters.lost_nodes += 1
            for it in owed:
                self._stead.pay(it)
        elif life.doubtful and not life.is_over:
            arrived = self._settling.clear(life)
        with self._changed:
            for order in arrived:
                self._committing.settle(order)
            self._changed.notify_all()
