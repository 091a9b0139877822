"""The end of an activation in the container's log streams.

The rule: a sentinel is one whole line, written in one call, on both streams, after everything the function
wrote and before the answer leaves. The proxy writes nothing else there but what a function's author must see, and
the line that parts two functions of one container.
"""

from __future__ import annotations

import os
import select

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
STDOUT, STDERR = 1, 2


def write() -> None:
    for stream in (STDOUT, STDERR):
        _write(stream, SENTINEL)


def mark(line: str) -> None:
    """Part what one function has written from what the next one will."""
    for stream in (STDOUT, STDERR):
        _write(stream, line)


def complain(text: str) -> None:
    """Put `text`, without a sentinel, where the function's author looks for it."""
    _write(STDERR, text)


def _write(stream: int, line: str) -> None:
    data = f"{line}\n".encode("utf-8", "backslashreplace")
    while data:
        try:
            data = data[os.write(stream, data) :]
        except BlockingIOError:  # whoever shares the pipe made it non-blocking
            select.select([], [stream], [])
        except OSError:
            return  # nobody reads the log any more; the answer is still owed
