"""The function's log streams inside the worker.

The rule: what the function printed is on its way before its answer is, and the next writer begins on a line of
its own; the log's sentinel must stand alone to be recognised everywhere.

Where one run is executed at a time, text is passed on at once, so that a function that is killed keeps what it
said. Where several are, a sentinel may come at any time, so only whole lines are passed on, one call each; the
kernel keeps such a call whole up to 4096 bytes, and longer ones while the log's reader keeps up.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
from collections import deque
from typing import Any


class Immediate(io.RawIOBase):
    """A file descriptor that remembers whether its last byte ended a line. Not closed with the object."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._mid_line = False

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        written = os.write(self._descriptor, data)
        if written:
            self._mid_line = memoryview(data).cast("B")[written - 1] != ord("\n")
        return written

    def settle(self) -> None:
        if self._mid_line:
            self._mid_line = False
            os.write(self._descriptor, b"\n")


class WholeLines(io.RawIOBase):
    """A file descriptor that is written whole lines only. Not closed with the object.

    Takes no lock, which a thread that does not live on in a forked child could hold there for ever. Two threads
    may so share an open line's pieces between them, and each makes a line of what it got.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._open: deque[bytes] = deque()  # pieces of the line that has not ended

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        text = bytes(data)
        ended, newline, rest = text.rpartition(b"\n")
        if newline:
            self._emit(self._take() + ended + newline)
        if rest:
            self._open.append(rest)
        return len(text)

    def settle(self) -> None:
        if text := self._take():
            self._emit(text + b"\n")

    def _take(self) -> bytes:
        pieces = []
        with contextlib.suppress(IndexError):
            while True:
                pieces.append(self._open.popleft())
        return b"".join(pieces)

    def _emit(self, text: bytes) -> None:
        while text:
            text = text[os.write(self._descriptor, text) :]


class Streams:
    """Owns `sys.stdout` and `sys.stderr` of this process from `install` on."""

    def __init__(self, kind: type[Immediate] | type[WholeLines]) -> None:
        self._raw = {descriptor: kind(descriptor) for descriptor in (1, 2)}
        self._libc = ctypes.CDLL(None)

    def install(self) -> None:
        """Replace the inherited stream objects, whose buffers may hold what the parent wrote."""
        sys.stdout = sys.__stdout__ = self._text(1)  # type: ignore[misc]  # final for others
        sys.stderr = sys.__stderr__ = self._text(2)  # type: ignore[misc]

    def settle(self) -> None:
        """Flush what Python and C hold back, and end a line that was left open."""
        for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
            with contextlib.suppress(Exception):  # closed, or an object of the user's own: not ours to mend
                stream.flush()  # type: ignore[union-attr]
        self._libc.fflush(None)
        for raw in self._raw.values():
            raw.settle()

    def _text(self, descriptor: int) -> io.TextIOWrapper:
        buffered = io.BufferedWriter(self._raw[descriptor])
        return io.TextIOWrapper(buffered, "utf-8", errors="backslashreplace", line_buffering=True)
