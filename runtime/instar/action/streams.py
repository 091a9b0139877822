"""The function's log streams inside the worker.

The rule: what the function printed is on its way before its answer is, and the next writer begins on a line of
its own; the log's sentinel must stand alone to be recognised everywhere.

Lines are passed on as they end, so that a function that is killed keeps what it said.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import sys
from typing import Any


class _Watched(io.RawIOBase):
    """A file descriptor that remembers whether its last byte ended a line. Not closed with the object."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.mid_line = False

    def fileno(self) -> int:
        return self._descriptor

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        written = os.write(self._descriptor, data)
        if written:
            self.mid_line = memoryview(data).cast("B")[written - 1] != ord("\n")
        return written


class Streams:
    """Owns `sys.stdout` and `sys.stderr` of this process from `install` on."""

    def __init__(self) -> None:
        self._raw = {1: _Watched(1), 2: _Watched(2)}
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
        for descriptor, raw in self._raw.items():
            if raw.mid_line:
                raw.mid_line = False
                os.write(descriptor, b"\n")

    def _text(self, descriptor: int) -> io.TextIOWrapper:
        buffered = io.BufferedWriter(self._raw[descriptor])
        return io.TextIOWrapper(buffered, "utf-8", errors="backslashreplace", line_buffering=True)
