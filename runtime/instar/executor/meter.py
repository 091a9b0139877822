"""What loading has cost a container so far: bytes and waits, counted where the proxy can read them.

The rule: the executor counts, the proxy reads, and a function can do neither. The page is made before either process,
its descriptor is given to the zygote and the executor only, and no worker inherits it.

Each count only grows, also when a new executor takes the place of one that died.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
from dataclasses import astuple, dataclass

_COUNTS = struct.Struct("4Q")
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL  # so nobody who maps it can meet its end


@dataclass(frozen=True, slots=True)
class Reading:
    """Amounts; the bytes are of weights files."""

    fetched_bytes: int = 0  # brought from elsewhere
    present_bytes: int = 0  # of the files asked for, there already
    reused_bytes: int = 0  # copied from other files of the node
    waited_ns: int = 0  # by calls, for weights

    def __add__(self, other: Reading) -> Reading:
        return Reading(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))

    def __sub__(self, other: Reading) -> Reading:
        return Reading(*(a - b for a, b in zip(astuple(self), astuple(other), strict=True)))


NOTHING = Reading()


def create() -> int:
    """The descriptor of a new page, at zero. The caller owns it."""
    descriptor = os.memfd_create("instar-meter", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, mmap.PAGESIZE)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
    return descriptor


class Meter:
    """A mapping of the page, to read it."""

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ)

    def read(self) -> Reading:
        """What has been counted. While something is being counted, some amounts may be older than others."""
        return Reading(*_COUNTS.unpack_from(self._page))


class Counter:
    """A mapping of the page, to count. One thread of one process has it."""

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, mmap.PAGESIZE)

    def add(self, amounts: Reading) -> None:
        """Count. No count shrinks: an amount below zero is none."""
        if amounts != NOTHING:
            counted = _COUNTS.unpack_from(self._page)
            _COUNTS.pack_into(self._page, 0, *(c + max(0, a) for c, a in zip(counted, astuple(amounts), strict=True)))
