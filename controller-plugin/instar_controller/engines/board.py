"""What a dispatcher knows: the lives of nodes, what each of them has of its work, and what waits.

One rule: an activation is in one place: it waits, or one life of a node has it, or it is doubtful whether that life
has got it, or it is owed by a life that is over. No I/O here, and no clock; the dispatcher holds its lock over each
call.
"""

from __future__ import annotations

import logging
from collections import Counter, OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from instar_controller.engines.window import Bookmark, Place
from instar_controller.policies import dispatch, nodes
from instar_controller.policies.dispatch import Need, Node, Placement, Waiting
from instar_controller.policies.nodes import Health, Heartbeat, Member, Patience, Stage
from instar_controller.whisk.activation import ActivationId
from instar_controller.whisk.activation_message import ActivationMessage

logger = logging.getLogger(__name__)

MOST_BURIED = 1000  # lives that are remembered to be over


@dataclass(slots=True, eq=False)
class Order:
    """An activation that this dispatcher has to hand on."""

    message: ActivationMessage
    value: bytes  # the message as it came
    need: Need
    acks_from: int
    waits_since_s: float
    place: Place | None = None  # in the invoker's topic; None if its position is beyond that
    owed_by: Member | None = None  # the life of a node that is over and had it before
    attempt: int = 0  # how often it was sent

    @property
    def id(self) -> ActivationId:
        return self.message.activation_id


@dataclass(slots=True, eq=False)
class Life:
    """One life of a node. `since`: what was sent to it and is not committed lies from this offset on."""

    member: Member
    since: Bookmark
    beat: Heartbeat | None = None
    beat_offset: int | None = None
    first_offset: int | None = None  # of the first heartbeat that was heard
    heard_s: float = float("-inf")
    is_adopted: bool = False  # what an earlier run of the dispatcher had sent to it is counted in
    is_admitted: bool = False  # it is in the dispatcher's note: something may have been sent to it
    is_over: bool = False
    is_judged: bool = False  # what becomes of its work is decided
    open: dict[ActivationId, Need] = field(default_factory=dict)  # sent, and not known to be done
    offsets: dict[ActivationId, int] = field(default_factory=dict)  # of those that were found in its topic
    sending: int = 0  # of which the bus has not said whether it took them
    doubtful: dict[ActivationId, Order] = field(default_factory=dict)  # of which the bus could not say
    owed: dict[ActivationId, str] = field(default_factory=dict)  # what is to be done before it can be forgotten
    running: Counter[str] = field(default_factory=Counter)
    busy_mb: int = 0
    warmed: dict[str, int] = field(default_factory=dict)  # by us since the last heartbeat

    def add(self, id: ActivationId, need: Need) -> None:
        count = self.running[need.function]
        self.open[id] = need
        self.running[need.function] = count + 1
        self.busy_mb += need.containers_mb(count + 1) - need.containers_mb(count)
        containers = -(-(count + 1) // need.concurrency)
        self.warmed[need.function] = max(self.warmed.get(need.function, 0), containers)

    def remove(self, id: ActivationId) -> bool:
        """Whether it was there."""
        need = self.open.pop(id, None)
        self.offsets.pop(id, None)
        if need is None:
            return False
        count = self.running[need.function]
        self.running[need.function] = count - 1
        if count == 1:
            del self.running[need.function]
        self.busy_mb -= need.containers_mb(count) - need.containers_mb(count - 1)
        return True


class Board:
    """One dispatcher's, whose invoker has this number."""

    def __init__(self, number: int, placement: Placement, patience: Patience) -> None:
        self.number = number
        self.placement = placement
        self.lives: dict[Member, Life] = {}
        self.waiting: OrderedDict[ActivationId, Order] = OrderedDict()
        self._patience = patience
        self._buried: OrderedDict[Member, None] = OrderedDict()

    # Nodes.

    def recover(self, member: Member, since: int) -> Life:
        """A life that the note tells of."""
        life = self.lives[member] = Life(member, Bookmark(since), is_admitted=True)
        return life

    def heard(self, beat: Heartbeat, offset: int, heard_s: float, *, is_old: bool) -> None:
        """A heartbeat has come, which lies at this offset and is old if it may have been said before this dispatcher
        began. A node's new life ends its others.
        """
        if beat.member in self._buried:
            return
        life = self.lives.get(beat.member)
        if life is None:
            if any(it.beat is not None and it.beat.began > beat.began for it in self._of(beat.member.name)):
                return  # an old one, that came late
            life = self.lives[beat.member] = Life(beat.member, Bookmark(beat.position))
            logger.info("node %s has joined, with %s MB", beat.member, beat.memory_mb)
        if life.is_over:
            return
        is_first = life.beat is None
        life.beat, life.beat_offset, life.heard_s = beat, offset, max(life.heard_s, heard_s)
        if is_first:
            life.first_offset = offset
        if not life.is_adopted:
            self._adopt(life, beat)
            life.is_adopted = not is_old
        unfinished = {it.id for it in beat.unfinished.get(self.number, ())}
        for id in [id for id, at in life.offsets.items() if at < beat.position and id not in unfinished]:
            life.remove(id)
        life.warmed = dict.fromkeys(life.running, 0)
        for name, count in life.running.items():
            life.warmed[name] = count
        if beat.stage is Stage.GONE:
            self.end(life, "it has gone")
        for other in self._of(beat.member.name):
            if other is not life and other.beat is not None:  # one that was not heard yet may be the later one
                self.end(other, f"it lives on as {beat.member.incarnation}")

    def judge(self, *, now_s: float, listening_since_s: float) -> None:
        """End the lives of nodes that have been silent for too long."""
        for life in list(self.lives.values()):
            if not life.is_over and self._health(life, now_s, listening_since_s) is Health.DEAD:
                self.end(life, f"nothing was heard of it for {self._patience.dead_s:g} s")

    def end(self, life: Life, why: str) -> None:
        """This life is over. If it was given work, that is settled; else it is forgotten."""
        if life.is_over:
            return
        logger.info("node %s gets nothing more: %s", life.member, why)
        life.is_over = True
        if not life.is_admitted:
            self.bury(life)

    def bury(self, life: Life) -> None:
        """Nothing is left to do for it."""
        del self.lives[life.member]
        self._buried[life.member] = None
        if len(self._buried) > MOST_BURIED:
            self._buried.popitem(last=False)

    def successor(self, life: Life) -> Life | None:
        """The life that its node began next, if it was heard."""
        if life.beat_offset is None:
            return None
        after = life.beat_offset
        later = [(it.first_offset, it) for it in self._of(life.member.name) if it.first_offset is not None]
        return min((pair for pair in later if pair[0] > after), key=lambda pair: pair[0], default=(0, None))[1]

    def alive(self, now_s: float) -> list[Life]:
        """Those that may be given work, or may soon."""
        return [
            life
            for life in self.lives.values()
            if not life.is_over
            and life.beat is not None
            and life.beat.stage is Stage.WORKING
            and self._health(life, now_s, now_s) is Health.ALIVE
        ]

    @property
    def is_settling(self) -> bool:
        """Whether any life's work is to be settled, or may be: one that an earlier run has known and nobody heard."""
        return any(life.is_over or (life.is_admitted and life.beat is None) for life in self.lives.values())

    def settled(self) -> frozenset[Member]:
        """The lives that are over, if all of them owe nothing. None is forgotten alone: an activation may have been
        with several, and the later ones' topics say that it is none of the earlier ones' any more."""
        settling = [it for it in self.lives.values() if it.is_over or (it.is_admitted and it.beat is None)]
        if not all(life.is_judged and not life.owed for life in settling):
            return frozenset()
        return frozenset(life.member for life in settling)

    def bury_all(self) -> list[Member]:
        """Forget the lives that are over."""
        over = [life for life in self.lives.values() if life.is_over]
        for life in over:
            self.bury(life)
        return [life.member for life in over]

    # Work.

    def add(self, order: Order) -> None:
        """It waits, behind all others."""
        self.waiting[order.id] = order

    def put_back(self, orders: Iterable[Order]) -> None:
        """They wait, before all others, in this order."""
        for order in reversed(list(orders)):
            self.waiting[order.id] = order
            self.waiting.move_to_end(order.id, last=False)

    def has(self, id: ActivationId) -> bool:
        """Whether this activation is known, and not known to be done."""
        return id in self.waiting or any(
            id in life.open or id in life.doubtful or id in life.owed for life in self.lives.values()
        )

    def assign(self, now_s: float) -> list[tuple[Life, Order]]:
        """Give what waits to nodes, as far as they have room. From here on it is being sent."""
        if not self.waiting:
            return []
        ready = {life.member.name: life for life in self.alive(now_s) if life.is_admitted}
        queue = (Waiting(order.id, order.need) for order in self.waiting.values())
        found = []
        for it in dispatch.assign(queue, [self._node(life) for life in ready.values()], self.placement):
            life, order = ready[it.node], self.waiting.pop(it.id)
            order.attempt += 1
            life.add(order.id, order.need)
            life.sending += 1
            found.append((life, order))
        return found

    def finished(self, member: Member, ids: Iterable[ActivationId]) -> list[Order]:
        """A node has completed these. Returns those of which it was doubtful whether it had got them."""
        life = self.lives.get(member)
        if life is None or life.is_over:
            return []  # the topics will tell
        cleared = []
        for id in ids:
            life.remove(id)
            order = life.doubtful.pop(id, None)
            if order is not None:
                cleared.append(order)
        return cleared

    def overdue(self, now_s: float, wait_s: float) -> list[Order]:
        """Those that have waited for too long; they wait no more."""
        late = [order for order in self.waiting.values() if now_s - order.waits_since_s >= wait_s]
        for order in late:
            del self.waiting[order.id]
        return late

    def discharge(self, member: Member | None, id: ActivationId) -> None:
        """What a life that is over owed for this activation is done."""
        life = None if member is None else self.lives.get(member)
        if life is not None:
            life.owed.pop(id, None)

    def _adopt(self, life: Life, beat: Heartbeat) -> None:
        """Count in what this dispatcher had sent to this life before it was started again. Of what was sent after an
        old heartbeat, and is committed, only later ones tell."""
        for it in beat.unfinished.get(self.number, ()):
            if it.id not in life.open:
                life.add(it.id, Need(f"? {it.id}", it.memory_mb))
            life.offsets[it.id] = it.offset

    def _of(self, name: str) -> list[Life]:
        return [life for life in self.lives.values() if life.member.name == name]

    def _health(self, life: Life, now_s: float, listening_since_s: float) -> Health:
        return nodes.judge(
            heard_s=life.heard_s, listening_since_s=listening_since_s, now_s=now_s, patience=self._patience
        )

    def _node(self, life: Life) -> Node:
        beat = life.beat
        assert beat is not None, "it was heard"
        others_mb = sum(mb for number, mb in beat.busy_mb.items() if number != self.number)
        warm = dict(beat.warm)
        for function, count in life.warmed.items():
            warm[function] = max(warm.get(function, 0), count)
        return Node(life.member.name, beat.memory_mb, life.busy_mb + others_mb, life.running, warm, beat.kinds)
