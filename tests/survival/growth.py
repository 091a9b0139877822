"""Whether a container grows while it runs the same function again and again.

The rule: what is compared is what belongs to the container alone, in the kernel's count, at rest: the proportional
share of anonymous and shared memory of all its processes, their descriptors and their mappings. File pages are left
out, for they come and go with whoever else on the machine uses the same libraries; a mapping that leaks is counted as
a mapping.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.survival.subjects import Subject

WARM_UP = 300  # runs after which caches are full and the pages that a fork shares have been written to


@dataclass(frozen=True, slots=True)
class Size:
    """What a container takes at rest."""

    mib: float
    descriptors: int
    mappings: int

    def since(self, before: Size) -> Size:
        return Size(self.mib - before.mib, self.descriptors - before.descriptors, self.mappings - before.mappings)


def measure(subject: Subject, call: Callable[[int], None], *, runs: int, warm_up: int = WARM_UP) -> Size:
    """By how much a container has grown after `runs` more calls of its function than `warm_up`."""
    for number in range(warm_up):
        call(number)
    before = size(subject)
    for number in range(runs):
        call(warm_up + number)
    return size(subject).since(before)


def size(subject: Subject) -> Size:
    pids = subject.processes().values()
    return Size(
        mib=sum(_own_kib(pid) for pid in pids) / 1024,
        descriptors=sum(len(os.listdir(f"/proc/{pid}/fd")) for pid in pids),
        mappings=sum(len(Path(f"/proc/{pid}/maps").read_text().splitlines()) for pid in pids),
    )


def _own_kib(pid: int) -> int:
    fields = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:])
    return sum(int(fields[name].split()[0]) for name in ("Pss_Anon", "Pss_Shmem"))
