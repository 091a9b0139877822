"""Whether a container grows while it runs the same function again and again.

The rule: what is compared is what belongs to the container alone, in the kernel's count, at rest: the proportional
share of anonymous and shared memory of all its processes, their descriptors and their mappings. File pages are left
out, for they come and go with whoever else on the machine uses the same libraries; a mapping that leaks is counted as
a mapping.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.survival.subjects import Subject

WARM_UP = 300  # runs after which caches are full and the pages that a fork shares have been written to
REST_S = 30  # by then everything is over that goes on when a run is answered
LOOK_S = 0.05


@dataclass(frozen=True, slots=True)
class Size:
    """What a container takes at rest."""

    mib: float
    descriptors: int
    mappings: int

    def since(self, before: Size) -> Size:
        return Size(self.mib - before.mib, self.descriptors - before.descriptors, self.mappings - before.mappings)


def measure(
    subject: Subject,
    call: Callable[[int], None],
    *,
    runs: int,
    warm_up: int = WARM_UP,
    come_to_rest: Callable[[], object] = lambda: None,
) -> Size:
    """By how much a container has grown after `runs` more calls of its function than `warm_up`.

    `come_to_rest` waits for what it does in idle moments.
    """
    for number in range(warm_up):
        call(number)
    come_to_rest()
    before = size(subject)
    for number in range(runs):
        call(warm_up + number)
    come_to_rest()
    deadline_s = time.monotonic() + REST_S
    while (grown := size(subject).since(before)).descriptors > 0 and time.monotonic() < deadline_s:
        time.sleep(LOOK_S)  # the proxy closes a connection after its client has
    return grown


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
