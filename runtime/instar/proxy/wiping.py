"""Overwrite memory of this process as it is freed, while somebody's code passes through it.

The rule: of an action's archive nothing stays behind in the proxy, which outlives functions and may serve another
owner's next. No code of a function runs here, and no worker may read this memory; this is so that there is nothing to
be read. It costs two passes over each block, so runs do without it.

What the C library keeps for a thread's small blocks, of a kilobyte at most, it does not overwrite.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Iterator
from contextlib import contextmanager

M_PERTURB = -6  # of malloc.h
BYTE = 0xA5

_lock = threading.Lock()
_users = 0


@contextmanager
def wiping() -> Iterator[None]:
    """What is freed inside is overwritten; in other threads, too."""
    _count(1)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int) -> None:
    global _users
    with _lock:
        _users += change
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:  # else a C library that has nothing of the kind
            mallopt(M_PERTURB, BYTE if _users else 0)
