"""How much memory something took at its highest, beyond what the process held before.

The rule: what counts is the process's resident set as the kernel counts it (`VmHWM`, with its mark reset before, less
`VmRSS` before): anonymous memory and every page of a file that is mapped and was touched. A page of the page cache
that nobody maps does not count, for the kernel takes it back whenever it likes.

Memory that earlier work freed is handed back to the kernel first; else what follows could use it for nothing.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from instar.weights import kernel

RESET_PEAK = "5"  # what /proc/self/clear_refs takes for it


@dataclass(slots=True)
class Peak:
    """Set when the block ends."""

    nbytes: int = 0


@contextmanager
def measured() -> Iterator[Peak]:
    """The peak of the block. Collects garbage before."""
    gc.collect()
    kernel.trim()
    found = Peak()
    Path("/proc/self/clear_refs").write_text(RESET_PEAK)
    before = _kib("VmRSS") * 1024
    yield found
    found.nbytes = _kib("VmHWM") * 1024 - before


def _kib(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise ValueError(f"the kernel tells no {name} of this process")
