"""What one container writes, cut into activations at the sentinels.

Whoever reads the container's streams feeds bytes in and never waits: a function must not stop because nobody
has collected its log yet. So beyond the activation's limit lines are counted and dropped, and what has no end
of line yet is bounded too.

A sentinel is told by the end of a line: a function that printed without a final newline has its last words
in front of it. Lines after the sentinel belong to the next activation, and so does what a container writes
before its first. A function that prints the sentinel itself ends its own log early, and no other's: with the
next activation the count begins anew. Where a container writes no sentinels, an activation's log ends when nothing
more comes; what comes later belongs to the next.

Where the next activation is another function's, a mark that nobody could know beforehand parts the two. What lies
before it is dropped.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field

from instar_controller.ports import Log, LogLine

SENTINEL = b"XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
STREAMS = ("stdout", "stderr")

BOOT_BYTES = 1 << 16  # what is kept of a container's words before it got anything to do
LAST_WORDS = 5  # lines that say why a container did not come up
LONGEST_LINE_BYTES = 1 << 20  # a longer one is cut in pieces, so that one without an end cannot grow for ever


@dataclass(slots=True)
class _Stream:
    """One stream: its unfinished line, the lines of this activation and, after the sentinel, of the next."""

    rest: bytearray = field(default_factory=bytearray)
    current: list[LogLine] = field(default_factory=list)
    following: list[LogLine] = field(default_factory=list)
    sentinels: int = 0
    mark: bytes | None = None  # the activation begins after the line that ends with it
    ended: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether the activation's end was read, and its beginning."""
        return self.sentinels > 0 and self.mark is None


class Logbook:
    """The log of one container. One thread feeds, another collects."""

    def __init__(self) -> None:
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._settled = threading.Condition(lock)  # both streams are past the end of the activation, or have ended
        self._streams = {name: _Stream() for name in STREAMS}
        self._limit_bytes = BOOT_BYTES
        self._kept_bytes = 0
        self._truncated = False

    def begin(self, limit_bytes: int, *, mark: str | None = None) -> None:
        """The next activation begins, on each stream after the `mark` if there is one; of its text so many bytes are
        kept."""
        with self._changed:
            self._limit_bytes = limit_bytes
            self._truncated = False
            for book in self._streams.values():
                book.current, book.following = book.current + book.following, []
                book.sentinels = 0
                book.mark = None if mark is None else mark.encode()

    def feed(self, stream: str, data: bytes, *, now_ns: int) -> None:
        """Some bytes have come out of a stream."""
        with self._changed:
            book = self._streams[stream]
            book.rest += data
            *lines, book.rest = book.rest.split(b"\n")
            for line in lines:
                self._add(book, stream, bytes(line), now_ns)
            if len(book.rest) > LONGEST_LINE_BYTES:
                self._add(book, stream, bytes(book.rest), now_ns)
                book.rest = bytearray()
            self._tell()

    def end(self, stream: str, *, now_ns: int) -> None:
        """A stream has come to its end: nobody can write to it any more."""
        with self._changed:
            book = self._streams[stream]
            if book.rest:
                self._add(book, stream, bytes(book.rest), now_ns)
                book.rest = bytearray()
            book.ended = True
            self._tell()

    def collect(self, *, timeout_ms: int) -> Log:
        """The activation's lines, once both streams are past its sentinel or have ended, or time is up. None of a
        stream whose mark has not come: they are another's."""
        with self._changed:
            self._settled.wait_for(self._is_settled, timeout_ms / 1000)
            return self._take()

    def collect_until_quiet(self, *, quiet_ms: int, timeout_ms: int) -> Log:
        """The activation's lines, once nothing more has come for `quiet_ms`; or as `collect`, if that is sooner."""
        until_s = time.monotonic() + timeout_ms / 1000
        with self._changed:
            while not self._is_settled() and (left_s := until_s - time.monotonic()) > 0:
                if not self._changed.wait(min(quiet_ms / 1000, left_s)):
                    break  # nobody had anything to tell
            return self._take()

    def last_words(self) -> str:
        """What it wrote last, for the error about a container that did not come up."""
        lines = self.collect(timeout_ms=0).lines
        return "it wrote: " + (" / ".join(line.text for line in lines[-LAST_WORDS:]) or "nothing")

    def _tell(self) -> None:
        """Wake who waits for anything, and who waits for the end if it has come."""
        self._changed.notify_all()
        if self._is_settled():
            self._settled.notify_all()

    def _is_settled(self) -> bool:
        return all(book.is_complete or book.ended for book in self._streams.values())

    def _take(self) -> Log:
        complete = all(book.is_complete for book in self._streams.values())
        lines = [line for book in self._streams.values() if book.mark is None for line in book.current]
        for book in self._streams.values():
            book.current = []
        self._kept_bytes = 0
        return Log(sorted(lines, key=lambda line: line.written_ns), complete, self._truncated)

    def _add(self, book: _Stream, stream: str, line: bytes, now_ns: int) -> None:
        if book.mark is not None and line.endswith(book.mark):
            self._begin_here(book)
            return
        text = line.removesuffix(SENTINEL)
        if text or not line:
            self._keep(book, LogLine(now_ns, stream, text.decode("utf-8", errors="replace")), len(text) + 1)
        if text != line:
            book.sentinels += 1

    def _begin_here(self, book: _Stream) -> None:
        """What was read of the stream is another's, sentinels included: they may be forged."""
        book.mark = None
        book.sentinels = 0
        book.current, book.following = [], []
        left = [line for other in self._streams.values() for line in other.current]
        self._kept_bytes = sum(len(line.text.encode()) + 1 for line in left)
        self._truncated = False

    def _keep(self, book: _Stream, line: LogLine, size: int) -> None:
        if self._truncated or self._kept_bytes + size > self._limit_bytes:
            self._truncated = True  # and nothing more: a log with holes would mislead
            return
        self._kept_bytes += size
        (book.following if book.sentinels else book.current).append(line)
