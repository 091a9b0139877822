"""Who holds how much of the memory of some containers, as the kernel counts it.

The proportional set size (PSS) divides each page among those who map it, so the sum over all processes of a set of
containers is what the set takes of the machine, as long as nobody outside maps the same files.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

MIB_KIB = 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB. `pss` is `anonymous`, `files` and `shared_memory` together; of it, `private` is mapped by one process."""

    pss: float = 0
    anonymous: float = 0  # heaps, stacks, and pages of libraries that were written to
    files: float = 0  # code and constants of libraries, weights: in the page cache
    shared_memory: float = 0  # arenas
    private: float = 0

    def __add__(self, other: Memory) -> Memory:
        return Memory(
            self.pss + other.pss,
            self.anonymous + other.anonymous,
            self.files + other.files,
            self.shared_memory + other.shared_memory,
            self.private + other.private,
        )


def of_process(pid: int) -> Memory:
    """Raises `OSError` where the kernel does not tell, or for a process of another user."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    mib = {name: int(rest.split()[0]) / MIB_KIB for name, rest in (line.split(":", 1) for line in lines)}
    return Memory(
        pss=mib["Pss"],
        anonymous=mib["Pss_Anon"],
        files=mib["Pss_File"],
        shared_memory=mib["Pss_Shmem"],
        private=mib["Private_Clean"] + mib["Private_Dirty"],
    )


def of_processes(pids: Iterable[int]) -> Memory:
    return sum(map(of_process, pids), Memory())
