"""Which chunk is read next: the schedule of everything that is on its way to the node.

The one rule: who waits comes first, and nobody waits for ever. While somebody waits for a transfer, reads for less
urgent ones pause where they are, and only one read in `TURNS` is theirs; when it has all it asked for, they go on.

Pure: no clock, no threads, no I/O. `Pipeline` belongs to one fetcher, which calls it under one lock, and asks it
again (`next`, `may_go_on`) after every change. It does not know what a read is: a range of a URL, pieces of files.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import NewType

TransferId = NewType("TransferId", str)

TURNS = 32  # of so many reads one is for the less urgent: all that those who wait lose to them

# A request that computes will soon wait again. Only after so many reads of its transfer that it did not ask for is it
# taken for gone: else others would fill the link in each of its pauses, and it would find their reads in its way.
LINGER = 16

_MISSING, _READING, _PRESENT = 0, 1, 2
_STATES = bytes([_MISSING] + [_PRESENT] * 255)  # of the flags that `begin` is given
_NOBODY = (2, 2)  # the last level: nobody waits


class Urgency(IntEnum):
    """What a transfer is for; the smaller one goes first."""

    REQUEST = 0
    TRANSFORMATION = 1
    PREFETCH = 2


@dataclass(frozen=True, slots=True, eq=False)
class Read:
    """One chunk to be read by whoever was given it. It equals itself only: a chunk may be handed out again."""

    transfer: TransferId
    chunk: int
    number: int


@dataclass(slots=True, eq=False)
class Ask:
    """Somebody waits for chunks `first…last` of a transfer. Owned by the pipeline until answered or withdrawn."""

    transfer: TransferId
    first: int
    last: int
    urgency: Urgency
    left: int  # chunks of it that are not there yet


@dataclass(slots=True)
class _Transfer:
    """A file on its way. `states` has a byte for each chunk: the first missing one is found at memory's speed."""

    states: bytearray
    urgency: Urgency
    left: int
    is_in_order: bool = False
    reading: int = 0
    stalled: int = 0
    asks: list[Ask] = field(default_factory=list)
    was_asked_for: bool = False
    lingering: Urgency = Urgency.PREFETCH  # what the last ask was for …
    linger: int = 0  # … and how many reads more it is taken to be there still
    served: int = 0  # the turn of its last read

    @property
    def is_awaited(self) -> bool:
        return self.left > 0 and (bool(self.asks) or self.linger > 0)

    @property
    def level(self) -> tuple[int, int]:
        """Smaller goes first: what it is for; then who waits, who has waited, and who has not begun to."""
        if not self.is_awaited:
            return (self.urgency, 1 if self.was_asked_for else 2)
        return (min(self.urgency, min((ask.urgency for ask in self.asks), default=self.lingering)), 0)

    @property
    def next_chunk(self) -> int:
        """The chunk to read next: what is asked for, then the first missing one. -1 if none may be started now."""
        if self.stalled or (self.is_in_order and self.reading):
            return -1
        if not self.is_in_order:
            for ask in self.asks:
                if (chunk := self.states.find(_MISSING, ask.first, ask.last + 1)) >= 0:
                    return chunk
        return self.states.find(_MISSING)


class Pipeline:
    """What has arrived, what is being read, and who waits for what.

    `readers` is how many reads may move at a time. Paused and stalled reads do not count, so that somebody who begins
    to wait finds room at once; a fetcher therefore needs up to `readers` threads for each transfer that is paused.
    """

    def __init__(self, *, readers: int) -> None:
        if readers < 1:
            raise ValueError(f"{readers} readers read nothing; at least one is needed")
        self._readers = readers
        self._transfers: dict[TransferId, _Transfer] = {}
        self._reads: dict[Read, bool] = {}  # in flight; True while nothing comes from its source
        self._let_through: Read | None = None  # the one read of a less urgent transfer that goes on all the same
        self._behind: dict[Read, Read] = {}  # a read, and the one that the same reader goes on with
        self._queued: set[Read] = set()  # reads that their reader has not come to yet
        self._elsewhere: Urgency | None = None
        self._turn = 0
        self._owed = 0  # reads for who waits since the last one for the less urgent

    # ---- transfers

    def begin(self, transfer: TransferId, present: bytes, *, urgency: Urgency) -> None:
        """Take a file on. `present` has a byte for each of its chunks, zero for those that have to be read.

        Raises `ValueError` for a transfer that is under way: `upgrade` it instead.
        """
        if transfer in self._transfers:
            raise ValueError(
                f"transfer {transfer:.16} is under way already; upgrade it instead of beginning it twice"
            )
        states = bytearray(_PRESENT if there else _MISSING for there in present)
        self._transfers[transfer] = _Transfer(states, urgency, left=states.count(_MISSING))

    def in_order(self, transfer: TransferId) -> None:
        """Its source can only be read from the start: from now on one read at a time, ascending."""
        self._transfers[transfer].is_in_order = True

    def upgrade(self, transfer: TransferId, urgency: Urgency) -> None:
        """Somebody wants it for something as urgent as this; it never becomes less urgent by it."""
        found = self._transfers[transfer]
        found.urgency = min(found.urgency, urgency)

    def is_whole(self, transfer: TransferId) -> bool:
        """Whether all its chunks are there."""
        return self._transfers[transfer].left == 0

    def end(self, transfer: TransferId) -> None:
        """Forget it, whole or given up. What is said of its reads afterwards changes nothing."""
        del self._transfers[transfer]
        for read in [read for read in self._reads if read.transfer == transfer]:
            del self._reads[read]
            self._queued.discard(read)
            self._behind.pop(read, None)
        if self._let_through is not None and self._let_through.transfer == transfer:
            self._let_through = None

    # ---- who waits

    def ask(self, transfer: TransferId, first: int, last: int, urgency: Urgency) -> Ask:
        """Somebody waits for chunks `first…last` from now on: until they are there, or until `withdraw`."""
        found = self._transfers[transfer]
        if not 0 <= first <= last < len(found.states):
            raise ValueError(f"chunks {first}…{last} of transfer {transfer:.16}, which has {len(found.states)}")
        left = last + 1 - first - found.states.count(_PRESENT, first, last + 1)
        ask = Ask(transfer, first, last, urgency, left)
        if left:
            found.was_asked_for = True
            found.asks.append(ask)
            found.asks.sort(key=lambda one: one.urgency)  # stable: of equal ones the first to ask
        return ask

    def withdraw(self, ask: Ask) -> None:
        """Who asked waits no longer. Does nothing if it was answered."""
        found = self._transfers.get(ask.transfer)
        if found is not None and ask in found.asks:
            found.asks.remove(ask)

    def busy_elsewhere(self, urgency: Urgency | None) -> None:
        """What somebody waits for whose file another process of the node fetches; None if nobody does.

        To be said again about as often as a read ends, since each time counts as one read of theirs: so ours get a
        turn even if somebody waits there for ever.
        """
        self._elsewhere = urgency
        if urgency is not None:
            self._owe()

    # ---- reads

    def next(self) -> Read | None:
        """The next read to start; None if none may start now."""
        hold = self._hold
        self._give_turn(hold)
        if not self._has_room(hold):
            return None
        startable = [(t.level, t.served, name) for name, t in self._transfers.items() if t.next_chunk >= 0]
        if not startable:
            return None
        level, _, name = min(startable)
        front = min(level, hold)
        if self._owed >= TURNS and self._let_through is None:
            late = min(((served, other) for at, served, other in startable if at > front), default=None)
            if late is not None:
                self._owed, self._let_through = 0, self._start(late[1])
                return self._let_through
        if level > hold:
            return None
        read = self._start(name)
        if any(t.left and t.level > level for t in self._transfers.values()):
            self._owe()
        return read

    def following(self, read: Read) -> Read | None:
        """The chunk after that of `read`, for the same reader to read in the same go; None if it is not missing.

        It moves when `read` has ended, and counts from then on. None, too, if somebody waits for another chunk.
        """
        found, chunk = self._transfers.get(read.transfer), read.chunk + 1
        if found is None or found.states[chunk : chunk + 1] != bytes([_MISSING]):
            return None
        if not found.is_in_order and found.next_chunk != chunk:
            return None
        following = self._hand_out(read.transfer, chunk)
        self._behind[read] = following
        self._queued.add(following)
        return following

    def missing(self, transfer: TransferId) -> int:
        """How many chunks are neither there nor being read."""
        return self._transfers[transfer].states.count(_MISSING)

    def may_go_on(self, read: Read) -> bool:
        """Whether a read goes on to its next piece; False while it has to pause for somebody more urgent.

        True for a read whose transfer has ended: whoever ended it stops its reads.
        """
        return read not in self._reads or not self._is_paused(read, self._hold)

    def done(self, read: Read) -> None:
        """The chunk is there, its digest matched."""
        found = self._settle(read, _PRESENT)
        if found is None:
            return
        found.left -= 1
        if found.linger:
            found.linger -= 1
        for ask in [ask for ask in found.asks if ask.first <= read.chunk <= ask.last]:
            ask.left -= 1
            found.lingering, found.linger = ask.urgency, LINGER
            if ask.left == 0:
                found.asks.remove(ask)

    def failed(self, read: Read) -> None:
        """The chunk did not come: it will be handed out again."""
        self._settle(read, _MISSING)

    def stalled(self, read: Read) -> None:
        """Nothing comes from its source: until `resumed`, `done` or `failed`, it holds nobody back."""
        if self._reads.get(read) is False:
            self._reads[read] = True
            self._transfers[read.transfer].stalled += 1

    def resumed(self, read: Read) -> None:
        """Its source gives bytes again."""
        if self._reads.get(read) is True:
            self._reads[read] = False
            self._transfers[read.transfer].stalled -= 1

    # ---- inside

    @property
    def _hold(self) -> tuple[int, int]:
        """The level of the most urgent one that is waited for: nobody below it goes on."""
        elsewhere = _NOBODY if self._elsewhere is None else (self._elsewhere, 0)
        ours = (t.level for t in self._transfers.values() if t.is_awaited and not t.stalled)
        return min([elsewhere, *ours])

    def _is_paused(self, read: Read, hold: tuple[int, int]) -> bool:
        return self._transfers[read.transfer].level > hold and read != self._let_through

    def _moves(self, read: Read, hold: tuple[int, int]) -> bool:
        return not self._reads[read] and read not in self._queued and not self._is_paused(read, hold)

    def _has_room(self, hold: tuple[int, int]) -> bool:
        return sum(self._moves(read, hold) for read in self._reads) < self._readers

    def _owe(self) -> None:
        """One more read for somebody who waits."""
        self._owed += 1
        self._give_turn(self._hold)

    def _give_turn(self, hold: tuple[int, int]) -> None:
        """If it is the others' turn, and a reader is free for it, one of theirs that has begun goes on first."""
        if self._owed < TURNS or self._let_through is not None or not self._has_room(hold):
            return
        paused = [read for read, stalled in self._reads.items() if not stalled and self._is_paused(read, hold)]
        if paused:
            chosen = min(paused, key=lambda read: (self._transfers[read.transfer].served, read.number))
            self._turn += 1
            self._transfers[chosen.transfer].served = self._turn
            self._owed, self._let_through = 0, chosen

    def _start(self, name: TransferId) -> Read:
        return self._hand_out(name, self._transfers[name].next_chunk)

    def _hand_out(self, name: TransferId, chunk: int) -> Read:
        found = self._transfers[name]
        self._turn += 1
        read = Read(name, chunk, self._turn)
        found.states[read.chunk] = _READING
        found.reading += 1
        found.served = self._turn
        self._reads[read] = False
        return read

    def _settle(self, read: Read, state: int) -> _Transfer | None:
        """Take a read out of flight; None if its transfer has ended."""
        self.resumed(read)
        if self._reads.pop(read, None) is None:
            return None
        if read == self._let_through:
            self._let_through = None
        self._queued.discard(read)
        if (behind := self._behind.pop(read, None)) is not None:
            self._queued.discard(behind)
        found = self._transfers[read.transfer]
        found.states[read.chunk] = state
        found.reading -= 1
        return found

    def __repr__(self) -> str:
        return f"<Pipeline {self._readers} readers: {'; '.join(self._words()) or 'nothing to read'}>"

    def _words(self) -> Iterator[str]:
        for name, t in self._transfers.items():
            waits = ", waited for" if t.is_awaited else ""
            chunks = len(t.states)
            yield f"{name:.8} {t.urgency.name.lower()}{waits}, {chunks - t.left}/{chunks}, {t.reading} reading"
