"""How one thread reads a run of chunks: from their source, or from what the node holds already, into the store.

The rule: a chunk is written, and said to be there, only after its digest matched. What is read next, and what becomes
of an error, is the fetcher's to decide.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

from instar import digests
from instar.errors import DigestError
from instar.weights.reuse import Copy, Fetch, Zero
from instar.weights.sources import Reader
from instar.weights.store import Store
from instar.weights.transfer import Run

PIECE_BYTES = 512 << 10  # after which a reader looks whether somebody more urgent waits

Observe = Callable[[str, int, int, int], object]  # what, chunk, from and to in ns of `time.perf_counter_ns`


class Owner(Protocol):
    """Who the runs belong to."""

    def may_go_on(self, run: Run) -> bool:
        """Wait while somebody more urgent reads; False if there is nothing to go on with."""

    def is_its_turn(self, run: Run) -> bool:
        """Whether a run may go on, now that its source turned out to have one order; if not, it has no reads left."""

    def account(self, run: Run, *, fetched: int, reused: int) -> None:
        """The first chunk of a run is about to be there: that many bytes from its source, and from files of the
        node. Before anybody sees the chunk, so that whoever has waited for it finds its bytes counted."""

    def arrived(self, run: Run) -> None:
        """The first chunk of a run is there."""


class RunReader:
    """Reads runs of one owner. One thread's."""

    def __init__(self, owner: Owner, store: Store, observe: Observe | None) -> None:
        self._owner = owner
        self._store = store
        self._observe = observe
        self._buffer = memoryview(bytearray())

    def read(self, run: Run, reader: Reader) -> None:
        """Read as much of a run as goes in one go. Raises `SourceError`, `DigestError`, or `OSError` of the store."""
        if len(self._buffer) < run.transfer.weights.chunk_bytes:
            self._buffer = memoryview(bytearray(run.transfer.weights.chunk_bytes))
        if run.reads[0].chunk in run.transfer.plan:
            self._put_together(run, reader)
        else:
            self._read_all(run, reader)

    def _read_all(self, run: Run, reader: Reader) -> None:
        weights = run.transfer.weights
        begin = run.reads[0].chunk * weights.chunk_bytes
        end = min((run.reads[-1].chunk + 1) * weights.chunk_bytes, weights.size)
        asked = time.perf_counter()
        reader.seek(begin, end - begin)
        answered = time.perf_counter()
        if run.transfer.origin.in_order and not self._owner.is_its_turn(run):
            return
        while run.reads and not run.transfer.is_over:
            self._read_chunk(run, reader)
        run.transfer.account(answered - asked, end - begin, time.perf_counter() - answered)

    def _read_chunk(self, run: Run, reader: Reader) -> None:
        began = time.perf_counter_ns()
        data = self._room(run)
        for first in range(0, len(data), PIECE_BYTES):
            reader.read(data[first : first + PIECE_BYTES])
            if not self._owner.may_go_on(run):
                return
        if not self._take_in(run, data, began):
            weights, chunk = run.transfer.weights, run.reads[0].chunk
            at, found = chunk * weights.chunk_bytes, digests.hexdigest(data)
            raise DigestError(
                f"{run.transfer.origin.location}: bytes {at}…{at + len(data) - 1} have the digest {found[:16]}…, "
                f"{weights.chunks[chunk][:16]}… was packed; the file is damaged: pack or push it again"
            )

    def _put_together(self, run: Run, reader: Reader) -> None:
        """Copy what other files of the node have of a chunk and fetch the rest; all of it, if that is not right."""
        began = time.perf_counter_ns()
        transfer, chunk = run.transfer, run.reads[0].chunk
        data, start = self._room(run), chunk * transfer.weights.chunk_bytes
        copied = 0
        for piece in transfer.plan[chunk]:
            place = data[piece.at - start : piece.at - start + piece.nbytes]
            match piece:
                case Zero(_, nbytes):
                    place[:] = bytes(nbytes)
                case Copy(_, nbytes, file, offset):
                    copied += nbytes
                    if not self._store.read(file, offset, place):
                        del transfer.plan[chunk]  # evicted meanwhile
                        return
                case Fetch(at, nbytes):
                    reader.seek(at, nbytes)
                    reader.read(place)
            if not self._owner.may_go_on(run):
                return
        if not self._take_in(run, data, began, copied):
            del transfer.plan[chunk]  # a package has lied about the digest of a tensor

    def _room(self, run: Run) -> memoryview:
        """As much of the buffer as the first chunk of a run takes."""
        weights = run.transfer.weights
        return self._buffer[: min(weights.chunk_bytes, weights.size - run.reads[0].chunk * weights.chunk_bytes)]

    def _take_in(self, run: Run, data: memoryview, began: int, copied: int = 0) -> bool:
        """Have the first chunk of a run, if these are its bytes."""
        transfer, read = run.transfer, run.reads[0]
        have = time.perf_counter_ns()
        if digests.hexdigest(data) != transfer.weights.chunks[read.chunk]:
            return False
        known = time.perf_counter_ns()
        transfer.partial.write(read.chunk * transfer.weights.chunk_bytes, data)
        self._owner.account(run, fetched=len(data) - copied, reused=copied)
        transfer.partial.map.mark(read.chunk)
        if self._observe is not None:
            there = time.perf_counter_ns()
            for what, start, end in (("read", began, have), ("digest", have, known), ("write", known, there)):
                self._observe(what, read.chunk, start, end)
        self._owner.arrived(run)
        return True
