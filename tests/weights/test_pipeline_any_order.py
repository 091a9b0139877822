"""Whatever is asked, in whatever order reads end: each chunk is read once, who waits is served, all become whole."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from instar.weights.pipeline import TURNS, Ask, Pipeline, Read, TransferId, Urgency

READERS = 3
urgencies = st.sampled_from(Urgency)


@dataclass
class Known:
    """What the test itself knows of a transfer."""

    chunks: int
    present: set[int]
    in_order_since: int | None = None  # the number of the last read before
    asks: list[Ask] = field(default_factory=list)

    def unanswered(self) -> list[Ask]:
        return [ask for ask in self.asks if any(c not in self.present for c in range(ask.first, ask.last + 1))]


class AnyOrder(RuleBasedStateMachine):
    """Draws what a fetcher may do, keeps books of its own, and holds every answer against them."""

    def __init__(self) -> None:
        super().__init__()
        self.pipeline = Pipeline(readers=READERS)
        self.known: dict[TransferId, Known] = {}
        self.flying: list[Read] = []
        self.stalled: set[Read] = set()
        self.queued: dict[Read, Read] = {}  # a read that is to be done in the same go, and the one before it
        self.ended: list[Read] = []
        self.last_number = 0
        self.names = 0

    def pick(self, data: st.DataObject) -> TransferId:
        return data.draw(st.sampled_from(sorted(self.known)))

    # ---- what may happen

    @precondition(lambda self: len(self.known) < 5)
    @rule(present=st.lists(st.booleans(), min_size=1, max_size=12), urgency=urgencies)
    def begin(self, present: list[bool], urgency: Urgency) -> None:
        name = TransferId(f"t{self.names}")
        self.names += 1
        self.pipeline.begin(name, bytes(present), urgency=urgency)
        self.known[name] = Known(len(present), {c for c, there in enumerate(present) if there})

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def in_order(self, data: st.DataObject) -> None:
        name = self.pick(data)
        self.pipeline.in_order(name)
        if self.known[name].in_order_since is None:
            self.known[name].in_order_since = self.last_number

    @precondition(lambda self: self.known)
    @rule(data=st.data(), urgency=urgencies)
    def upgrade(self, data: st.DataObject, urgency: Urgency) -> None:
        self.pipeline.upgrade(self.pick(data), urgency)

    @precondition(lambda self: self.known)
    @rule(data=st.data(), urgency=urgencies)
    def ask(self, data: st.DataObject, urgency: Urgency) -> None:
        name = self.pick(data)
        found = self.known[name]
        first = data.draw(st.integers(0, found.chunks - 1))
        last = data.draw(st.integers(first, found.chunks - 1))
        found.asks.append(self.pipeline.ask(name, first, last, urgency))

    @precondition(lambda self: any(known.asks for known in self.known.values()))
    @rule(data=st.data())
    def withdraw(self, data: st.DataObject) -> None:
        known = self.known[data.draw(st.sampled_from(sorted(n for n, k in self.known.items() if k.asks)))]
        self.pipeline.withdraw(known.asks.pop(data.draw(st.integers(0, len(known.asks) - 1))))

    @rule(urgency=st.none() | urgencies)
    def busy_elsewhere(self, urgency: Urgency | None) -> None:
        self.pipeline.busy_elsewhere(urgency)

    @rule()
    def next(self) -> None:
        read = self.pipeline.next()
        if read is not None:
            self.took(read)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def goes_on_with_the_following(self, data: st.DataObject) -> None:
        read = data.draw(st.sampled_from([read for read in self.flying if read not in self.queued.values()]))
        following = self.pipeline.following(read)
        if following is None:
            return
        known = self.known[read.transfer]
        assert following.transfer == read.transfer and following.chunk == read.chunk + 1
        assert following.chunk < known.chunks and following.chunk not in known.present
        assert not self.is_flying(read.transfer, following.chunk)
        if known.in_order_since is None:
            asked = [c for ask in known.unanswered() for c in range(ask.first, ask.last + 1)]
            missing = [c for c in asked if c not in known.present and not self.is_flying(read.transfer, c)]
            assert not missing or following.chunk in missing, "nobody is made to wait for what follows"
        self.last_number = following.number
        self.flying.append(following)
        self.queued[following] = read

    @precondition(lambda self: self.flying)
    @rule(data=st.data(), well=st.booleans())
    def ends(self, data: st.DataObject, well: bool) -> None:
        read = data.draw(st.sampled_from([read for read in self.flying if read not in self.queued]))
        self.settle(read, well)

    @precondition(lambda self: self.flying)
    @rule(data=st.data())
    def stalls_or_resumes(self, data: st.DataObject) -> None:
        read = data.draw(st.sampled_from([read for read in self.flying if read not in self.queued]))
        if read in self.stalled:
            self.stalled.remove(read)
            self.pipeline.resumed(read)
        else:
            self.stalled.add(read)
            self.pipeline.stalled(read)

    @precondition(lambda self: self.known)
    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        name = self.pick(data)
        self.pipeline.end(name)
        del self.known[name]
        self.ended += [read for read in self.flying if read.transfer == name]
        self.flying = [read for read in self.flying if read.transfer != name]
        self.queued = {read: before for read, before in self.queued.items() if read.transfer != name}

    @precondition(lambda self: self.ended)
    @rule(well=st.booleans())
    def a_read_of_an_ended_transfer_comes_late(self, well: bool) -> None:
        read = self.ended.pop()
        assert self.pipeline.may_go_on(read)
        self.pipeline.stalled(read)
        (self.pipeline.done if well else self.pipeline.failed)(read)

    # ---- what must hold

    def took(self, read: Read) -> None:
        known = self.known[read.transfer]
        assert read.chunk in range(known.chunks)
        assert read.chunk not in known.present, "a chunk that is there is never read again"
        twin = [other for other in self.flying if other.transfer == read.transfer and other.chunk == read.chunk]
        assert not twin, "a chunk is never read twice at a time"
        moving = [other for other in self.flying if self.moves(other)]
        assert len(moving) < READERS, "no more reads move than there are readers"
        missing = [c for c in range(known.chunks) if c not in known.present and not self.is_flying(read.transfer, c)]
        if known.in_order_since is not None:
            since = [o for o in self.flying if o.transfer == read.transfer and o.number > known.in_order_since]
            assert not since, "a source in order has one read at a time"
            assert read.chunk == missing[0], "a source in order is read in order"
        elif asked := [a for a in known.unanswered() if any(a.first <= c <= a.last for c in missing)]:
            best = min(ask.urgency for ask in asked)
            assert any(ask.first <= read.chunk <= ask.last for ask in asked if ask.urgency == best), (
                "within a transfer, what is asked for goes first, and of that the most urgent"
            )
        else:
            assert read.chunk == missing[0], "what nobody asked for comes in the order of execution"
        assert read.number > self.last_number
        self.last_number = read.number
        self.flying.append(read)

    def moves(self, read: Read) -> bool:
        return read not in self.stalled and read not in self.queued and self.pipeline.may_go_on(read)

    def is_flying(self, name: TransferId, chunk: int) -> bool:
        return any(read.transfer == name and read.chunk == chunk for read in self.flying)

    def settle(self, read: Read, well: bool) -> None:
        self.flying.remove(read)
        self.stalled.discard(read)
        self.queued = {after: before for after, before in self.queued.items() if before != read}
        if well:
            self.pipeline.done(read)
            self.known[read.transfer].present.add(read.chunk)
        else:
            self.pipeline.failed(read)

    @invariant()
    def a_transfer_is_whole_when_all_its_chunks_are_there(self) -> None:
        for name, known in self.known.items():
            assert self.pipeline.is_whole(name) == (len(known.present) == known.chunks)

    @invariant()
    def what_waits_most_urgently_never_pauses(self) -> None:
        waiting = {n: min(a.urgency for a in k.unanswered()) for n, k in self.known.items() if k.unanswered()}
        for read in self.flying:
            if waiting.get(read.transfer) == Urgency.REQUEST:
                assert self.pipeline.may_go_on(read)

    def teardown(self) -> None:
        """No starvation: with every ask left open, and somebody waiting elsewhere for ever, all become whole."""
        for read in [*self.stalled]:
            self.pipeline.resumed(read)
        self.stalled.clear()
        missing = sum(known.chunks - len(known.present) for known in self.known.values())
        for _ in range((missing + 1) * (TURNS + 1)):
            while (started := self.pipeline.next()) is not None:
                self.took(started)
            going = [read for read in self.flying if self.moves(read)]
            if going:
                self.settle(going[0], well=True)
            self.pipeline.busy_elsewhere(Urgency.REQUEST)
        assert all(self.pipeline.is_whole(name) for name in self.known), self.pipeline


TestAnyOrder = AnyOrder.TestCase
TestAnyOrder.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestAnyOrder = pytest.mark.timeout(300)(TestAnyOrder)
