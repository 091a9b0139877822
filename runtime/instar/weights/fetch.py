"""The threads that bring weights into a node's store.

The rule: whatever goes wrong with a source ends in one clear error for everybody who waits, and in nothing else: what
has arrived stays.

`pipeline.py` decides what is read next, `retry.py` whether an error is worth another try, `reading.py` reads. Of all
processes of a node that want a file, the one that holds the lock of its map fetches it; the others follow the map,
and one of them goes on with it if the first one ends before the file is whole.
"""

from __future__ import annotations

import contextlib
import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from instar.errors import InstarError, ReadOnlyError, SourceError, TransientError
from instar.weights import keeping, residency, retry, reuse, sources
from instar.weights.arrival import Arrival
from instar.weights.asks import Asks
from instar.weights.chunkmap import State
from instar.weights.manifest import Weights, unpack_spans
from instar.weights.pipeline import Pipeline, Urgency
from instar.weights.reading import Observe, RunReader
from instar.weights.residency import Reading
from instar.weights.retry import Patience
from instar.weights.reuse import Piece
from instar.weights.store import Store
from instar.weights.transfer import Run, Transfer

logger = logging.getLogger(__name__)

READERS = 3  # reads that move at a time
SURVEY_S = 0.002  # who waits in other processes is looked at this often at most
STALL_S = 1.0  # a read without a byte for so long holds nobody back
PLACE_S = 0.25  # after its last chunk a file is given its place: writing it out would disturb who answers just now
HELD_TICK_S, TICK_S = 0.02, 0.25  # how often the clock looks, while another process's file comes first, and otherwise


class Fetcher:
    """Brings weights into a store. Safe for several threads; it has threads of its own only while it fetches."""

    def __init__(
        self,
        store: Store,
        *,
        own: Store | None = None,
        readers: int = READERS,
        patience: Patience | None = None,
        environ: Mapping[str, str] = os.environ,
        observe: Observe | None = None,
    ) -> None:
        """`own` is where to bring what `store` lacks if that may only be read, as a node's does in a container."""
        self.store = store
        self._own: Fetcher | None = None
        if own is not None:
            self._own = Fetcher(own, readers=readers, patience=patience, environ=environ, observe=observe)
        self._patience = patience or Patience()
        self._environ = environ
        self._observe = observe
        self._readers = readers
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)  # for threads that wait for work, or to go on
        self._ticking = threading.Condition(self._lock)  # for the clock
        self._pipeline = Pipeline(readers=readers)
        self._transfers: dict[str, Transfer] = {}
        self._runs: deque[Run] = deque()  # for threads that are free
        self._moving: set[Run] = set()
        self._free = 0
        self._has_clock = False
        self._is_closed = False
        self._settling = 0  # who wait until nothing is under way
        # For its threads, which may be started by one that is kept on a single processor.
        self._processors = os.sched_getaffinity(0)
        self._surveyed_s = 0.0
        self._elsewhere: Urgency | None = None
        self._asks = None if not (store.root / "asks").exists() else store.asks()

    def begin(
        self,
        weights: Weights,
        location: Path | str,
        *,
        spans: bytes = b"",
        urgency: Urgency = Urgency.REQUEST,
    ) -> Arrival:
        """Have these weights brought to the node, if they are not there; returns at once.

        `location` is where they lie if the node lacks them, `spans` what `manifest.pack_spans` made of their tensors.
        Raises `SourceError` if the store cannot be used or the location can never be read.
        """
        try:
            arrival = self._begin(weights, location, spans, urgency)
        except ReadOnlyError:
            if self._own is None:
                raise
        else:
            if self._own is None or arrival.is_whole or arrival.error is None:
                return arrival
            arrival.close()  # who brought them there has given up
        return self._own.begin(weights, location, spans=spans, urgency=urgency)

    def close(self) -> None:
        """Give up what is under way; what has arrived stays in the store."""
        if self._own is not None:
            self._own.close()
        with self._lock:
            self._is_closed = True
            for transfer in list(self._transfers.values()):
                if transfer.is_ours and transfer.partial.map.has(0, len(transfer.weights.chunks) - 1):
                    continue  # whoever wrote the last chunk is about to give the file its place
                self._end(transfer, SourceError("the transfer was given up: its fetcher was closed"))
            if self._asks is not None:
                self._asks.close()
                self._asks = None
            self._changed.notify_all()
            self._ticking.notify_all()

    def settle(self) -> None:
        """Return when nothing is under way any more, and no thread of this one holds a file."""
        with self._lock:
            self._settling += 1
            self._changed.notify_all()
            while self._transfers or self._moving:
                self._changed.wait()
            self._settling -= 1

    def _begin(self, weights: Weights, location: Path | str, spans: bytes, urgency: Urgency) -> Arrival:
        while True:
            if (whole := self.store.whole(weights)) is not None:
                is_in_memory = residency.is_in_memory(whole.descriptor, weights.size)
                return Arrival(
                    weights, whole, reading=None if is_in_memory else Reading(whole.descriptor, weights.size)
                )
            if (partial := self.store.partial(weights, self._make_room)) is not None:
                break
        try:
            with self._lock:  # so nothing that is fetched for it comes before it has looked what is there
                transfer = self._take_on(weights, location, spans, urgency) if partial.map.writable else None
                return Arrival(
                    weights,
                    partial,
                    transfer,
                    asks=self.store.asks,
                    nudge=self._nudge,
                    patience_s=self._patience.deadline_s,
                )
        except BaseException:
            partial.close()
            raise

    def _make_room(self, nbytes: int) -> None:
        keeping.make_room(self.store, nbytes, self._environ)

    # Transfers.

    def _take_on(self, weights: Weights, location: Path | str, spans: bytes, urgency: Urgency) -> Transfer | None:
        if self._is_closed:
            raise SourceError("this fetcher is closed")
        found = self._transfers.get(weights.digest)
        if found is not None:
            found.urgency = min(found.urgency, urgency)
            with contextlib.suppress(KeyError):  # not begun yet, for another process still fetches it
                self._pipeline.upgrade(found.id, urgency)
            self._dispatch()
            return found
        origin = sources.origin(location, nbytes=weights.size, environ=self._environ)
        partial = self.store.partial(weights, self._make_room)
        if partial is None:
            return None  # it has just become whole, which the arrival's map says
        self._asks = self._asks or self.store.asks()
        plan = self._reusable(weights, spans)
        transfer = Transfer(weights, partial, origin, spans, urgency, time.monotonic(), plan)
        self._transfers[weights.digest] = transfer
        if partial.map.is_of_this_boot and partial.map.try_own():
            self._start(transfer)
        else:
            transfer.users += 1
            self._spawn(self._stand_by, transfer)
        return transfer

    def _reusable(self, weights: Weights, spans: bytes) -> dict[int, tuple[Piece, ...]]:
        """What of these weights other files of the node hold."""
        index = reuse.find(spans, self.store.tensors())
        return dict(reuse.plan(weights, unpack_spans(spans), index)) if index else {}

    def _stand_by(self, transfer: Transfer) -> None:
        """Wait until nobody else fetches it; then go on with it, if it is not whole."""
        transfer.partial.map.own()
        if not transfer.partial.map.is_of_this_boot and (lost := transfer.partial.recheck()):
            logger.warning("%d chunks of %s were lost when the machine went down", lost, transfer.id)
        with self._lock:
            if not transfer.is_over:
                transfer.began_s = time.monotonic()
                self._start(transfer)
            self._leave(transfer)

    def _start(self, transfer: Transfer) -> None:
        """Begin to fetch: this process has just become the map's owner."""
        transfer.is_ours = True
        map_ = transfer.partial.map
        if not map_.is_at(self.store.map_of(transfer.weights.digest)):
            self._end(transfer, None)  # it has become whole, or was removed; its map says which
            return
        map_.set(State.UNDER_WAY)
        self._pipeline.begin(transfer.id, bytes(map_.flags), urgency=transfer.urgency)
        if self._pipeline.is_whole(transfer.id):
            self._publish(transfer)
        else:
            self._surveyed_s = 0.0
            self._dispatch()

    def _publish(self, transfer: Transfer) -> None:
        """All chunks are there, and whoever waited has gone on; only the file's last place is missing."""
        self._pipeline.end(transfer.id)
        transfer.is_over = True
        transfer.users += 1
        self._spawn(self._give_its_place, transfer)

    def _give_its_place(self, transfer: Transfer) -> None:
        with self._lock:
            until_s = time.monotonic() + PLACE_S
            while not (self._settling or self._is_closed) and (left_s := until_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
        try:
            self.store.publish(transfer.partial, transfer.spans)
        except SourceError as error:
            logger.warning("weights %s stay where they came in: %s", transfer.id, error)
        with self._lock:
            del self._transfers[transfer.weights.digest]
            self._leave(transfer)
            self._changed.notify_all()

    def _end(self, transfer: Transfer, error: InstarError | None) -> None:
        """Give it up; the next who asks for it begins afresh with what has arrived."""
        if transfer.is_over:
            return
        transfer.is_over, transfer.error = True, error
        del self._transfers[transfer.weights.digest]
        if transfer.is_ours:
            with contextlib.suppress(KeyError):
                self._pipeline.end(transfer.id)
            waiting = {run for run in self._runs if run.transfer is transfer}
            self._runs = deque(run for run in self._runs if run not in waiting)
            self._moving -= waiting
            if error is not None:
                transfer.partial.map.set(State.FAILED, str(error))
            transfer.partial.map.disown()
            for reader in transfer.busy:
                reader.close()  # a read that nobody wants any more ends at once
        transfer.users += 1
        self._leave(transfer)
        self._dispatch()

    def _leave(self, transfer: Transfer) -> None:
        """A thread has done with a transfer; the last one closes it."""
        transfer.users -= 1
        if transfer.is_over and transfer.users == 0:
            for reader in transfer.idle:
                reader.close()
            transfer.idle.clear()
            transfer.partial.close()

    # What is read next.

    def _nudge(self) -> None:
        """Somebody has begun to wait."""
        with self._lock:
            self._surveyed_s = 0.0
            self._dispatch()

    def _dispatch(self) -> None:
        """Hand out every read that may be started, and let those go on that may."""
        self._survey()
        while (run := self._next_run()) is not None:
            self._runs.append(run)
            self._moving.add(run)
            if self._free < len(self._runs):
                self._free += 1  # until it begins to work it counts as waiting for work
                self._spawn(self._work)
        self._changed.notify_all()
        if self._transfers and not self._has_clock:
            self._has_clock = True
            self._spawn(self._tick)

    def _next_run(self) -> Run | None:
        if (first := self._pipeline.next()) is None:
            return None
        transfer = self._transfers[first.transfer]
        run = Run(transfer, deque([first]), time.monotonic())
        missing = self._pipeline.missing(transfer.id)
        # Ever smaller ones towards the end, so that all readers end together: guided self-scheduling
        # (C. Polychronopoulos, D. Kuck, IEEE Transactions on Computers 36, 1987), with half as large a share.
        most = min(transfer.run_bytes // transfer.weights.chunk_bytes, -(-missing // (2 * self._readers)))
        while len(run.reads) < most and not {run.reads[-1].chunk, run.reads[-1].chunk + 1} & transfer.plan.keys():
            if (following := self._pipeline.following(run.reads[-1])) is None:
                break
            run.reads.append(following)
        return run

    def _survey(self, *, is_tick: bool = False) -> None:
        """See who waits, on the whole node, and which reads get nothing from their source."""
        now_s = time.monotonic()
        if self._asks is None or (now_s - self._surveyed_s < SURVEY_S and not is_tick):
            return
        self._surveyed_s = now_s
        for transfer in self._transfers.values():
            if not transfer.is_over:
                self._survey_asks(self._asks, transfer)
        elsewhere = self._asks.others(self._transfers.keys())
        if is_tick or elsewhere != self._elsewhere:  # each time counts as one of their reads
            self._pipeline.busy_elsewhere(elsewhere)
        self._elsewhere = elsewhere
        for run in self._moving:
            if run.reads and now_s - run.moved_s > STALL_S:
                self._pipeline.stalled(run.reads[0])

    def _survey_asks(self, asks: Asks, transfer: Transfer) -> None:
        for urgency in Urgency:
            wanted, known = asks.asked(urgency, transfer.weights.digest), transfer.asks.get(urgency)
            if known is not None and wanted != (known.first, known.last):
                self._pipeline.withdraw(transfer.asks.pop(urgency))
                known = None
            if wanted is not None and known is None:
                with contextlib.suppress(KeyError):  # another process still fetches it
                    transfer.asks[urgency] = self._pipeline.ask(transfer.id, *wanted, urgency)

    def _tick(self) -> None:
        """What no event tells: that a source has gone silent, that another process's waiter has gone."""
        with self._lock:
            while self._transfers and not self._is_closed:
                self._ticking.wait(TICK_S if self._elsewhere is None else HELD_TICK_S)
                self._survey(is_tick=True)
                self._dispatch()
            self._has_clock = False

    # Reading.

    def _work(self) -> None:
        runs = RunReader(self, self.store, self._observe)
        while (run := self._take()) is not None:
            self._carry_out(run, runs)

    def _take(self) -> Run | None:
        """Wait for something to read; None when there is nothing left to wait for."""
        with self._lock:
            while not self._runs:
                if not self._transfers or self._is_closed:
                    self._free -= 1
                    return None
                self._changed.wait()
            self._free -= 1
            run = self._runs.popleft()
            run.transfer.users += 1
            return run

    def _carry_out(self, run: Run, runs: RunReader) -> None:
        transfer = run.transfer
        with self._lock:
            reader = transfer.idle.pop() if transfer.idle else transfer.origin.reader()
            transfer.busy.add(reader)
        try:
            while run.reads and not transfer.is_over:
                try:
                    runs.read(run, reader)
                except TransientError as error:
                    self._retry(run, error)
        except InstarError as error:
            with self._lock:
                self._end(transfer, error)
        except OSError as error:
            with self._lock:
                why = f"the node's store {self.store.root} cannot take the weights: {error.strerror}; give it space"
                self._end(transfer, SourceError(why))
        with self._lock:
            transfer.busy.discard(reader)
            transfer.idle.append(reader)
            self._moving.discard(run)
            self._free += 1
            self._leave(transfer)
            self._dispatch()

    def is_its_turn(self, run: Run) -> bool:
        """Of runs that were begun before it was known that a source has one order, only the first goes on."""
        with self._lock:
            if run.transfer.is_over:
                return False
            self._pipeline.in_order(run.transfer.id)
            rivals = [other for other in self._moving if other.transfer is run.transfer and other.reads]
            if run is min(rivals, key=lambda other: other.reads[0].chunk):
                return True
            while run.reads:
                self._pipeline.failed(run.reads.popleft())
            return False

    def account(self, run: Run, *, fetched: int, reused: int) -> None:
        """See `reading.Owner`."""
        with self._lock:
            run.transfer.fetched_bytes += fetched
            run.transfer.reused_bytes += reused

    def arrived(self, run: Run) -> None:
        """See `reading.Owner`."""
        with self._lock:
            transfer = run.transfer
            read = run.reads.popleft()
            if transfer.is_over:
                return
            transfer.failures = 0
            self._pipeline.done(read)
            if self._pipeline.is_whole(transfer.id):
                self._publish(transfer)
            self._dispatch()

    def may_go_on(self, run: Run) -> bool:
        """Wait while somebody more urgent reads; False if there is nothing to go on with."""
        with self._lock:
            run.moved_s = time.monotonic()
            self._pipeline.resumed(run.reads[0])
            self._survey()
            while not run.transfer.is_over and not self._pipeline.may_go_on(run.reads[0]):
                self._moving.discard(run)  # it pauses, which is no stall
                self._changed.wait()
                run.moved_s = time.monotonic()
                self._moving.add(run)
            return not run.transfer.is_over

    def _retry(self, run: Run, error: TransientError) -> None:
        """Wait before another try of what is left of a run. Raises the error if it is not worth one."""
        transfer = run.transfer
        with self._lock:
            if transfer.is_over:
                return
            transfer.failures += 1
            delay_s = retry.delay_s(
                transfer.failures,
                time.monotonic() - transfer.began_s,
                self._patience,
                retry_after_s=error.retry_after_s,
                draw=random.random(),
            )
            if delay_s is None:
                raise SourceError(f"{error} (tried {transfer.failures} times)") from error
            logger.info("%s; again in %.1f s", error, delay_s)
            self._pipeline.stalled(run.reads[0])
            self._dispatch()
            until_s = time.monotonic() + delay_s
            while not transfer.is_over and (left_s := until_s - time.monotonic()) > 0:
                self._changed.wait(left_s)
            run.moved_s = time.monotonic()
            self._pipeline.resumed(run.reads[0])

    def _spawn(self, work: Callable[..., None], *arguments: object) -> None:
        threading.Thread(target=self._guarded, args=(work, *arguments), name="instar-fetch", daemon=True).start()

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        """A bug of ours ends what is under way: whoever waits has to hear of it."""
        # A thread that wakes up for its next bytes does not take the processor from one that computes.
        with contextlib.suppress(OSError):
            os.sched_setaffinity(0, self._processors)
            os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
        try:
            work(*arguments)
        except BaseException as error:
            logger.exception("a thread that fetches has failed")
            with self._lock:
                for transfer in list(self._transfers.values()):
                    self._end(transfer, SourceError(f"fetching failed: {type(error).__name__}: {error}"))
                self._moving.clear()  # what this thread was at does not move any more
