"""How much a worker and the executor may take, from what the container may.

The rule: one activation that takes too much fails, and nobody else does: an allocation raises `MemoryError` in the
process that asks for it, before the kernel has to end one. What a process has when it starts was there before the
function and is not counted against it.

The functions named after someone decide; `apply` and `retune` tell the kernel. Memory is limited as private data
(`RLIMIT_DATA`), since torch reserves far more address space than it uses.
"""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from instar.action import cgroup

MIB = 1 << 20
OPEN_FILES = 1024  # beyond it, select() corrupts memory in programs that use it
PROCESSES = 1024  # in a container that states no limit
STACK_BYTES = 8 * MIB  # that a thread reserves and touches little of
SPARE_THREADS = 16  # of a function's own
LOADING_BYTES = 32 * MIB  # for the executor's threads that bring weights, and what they read into

Limits = Mapping[int, int]  # by number of the resource


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a container may have; `None` is no limit."""

    memory_bytes: int | None
    processes: int | None


def allowance(memory_mib: int | None) -> Allowance:
    """What the control group of this process says, or less."""
    asked = None if memory_mib is None else memory_mib * MIB
    known = [limit for limit in (asked, cgroup.memory_bytes()) if limit is not None]
    return Allowance(min(known, default=None), cgroup.processes())


def held_bytes(allowance: Allowance) -> int:
    """What is taken of the allowance already. Of one that no control group stands for, nothing is known."""
    return cgroup.held_bytes() if allowance.memory_bytes == cgroup.memory_bytes() else 0


def of_worker(allowance: Allowance, *, data_bytes: int, threads: int) -> Limits:
    """The limits of a worker with `data_bytes` of private data when it starts, which will use so many threads."""
    limits = {resource.RLIMIT_CORE: 0, resource.RLIMIT_NOFILE: OPEN_FILES}
    if allowance.memory_bytes is not None:
        limits[resource.RLIMIT_DATA] = data_bytes + allowance.memory_bytes + (threads + SPARE_THREADS) * STACK_BYTES
    return limits


def of_user(allowance: Allowance) -> Limits:
    """The limits that the kernel counts per user, so only for a worker that is a user of its own."""
    # Half: the proxy, too, needs a thread for each request.
    return {resource.RLIMIT_NPROC: (allowance.processes or PROCESSES) // 2}


def of_executor(allowance: Allowance, *, data_bytes: int, held_bytes: int, threads: int) -> Limits:
    """The limits of an executor with `data_bytes` of private data, in a container that holds `held_bytes` in all."""
    if allowance.memory_bytes is None:
        return {}
    # Not all that is left, for the worker may want more, too; and a quarter of the whole at least, for a model may
    # have to run where the memory is used by others, whom the kernel can end.
    left = max((allowance.memory_bytes - held_bytes) * 3 // 4, allowance.memory_bytes // 4)
    return {resource.RLIMIT_DATA: data_bytes + left + threads * STACK_BYTES + LOADING_BYTES}


def arena_bytes(allowance: Allowance, *, asked_bytes: int) -> int:
    """The most memory that worker and executor share: half, for what lies in it is copied."""
    if allowance.memory_bytes is None:
        return asked_bytes
    return max(min(asked_bytes, allowance.memory_bytes // 2), MIB)


def apply(limits: Limits) -> None:
    """Limit this process for good. Never raises what is lower already."""
    for number, most in limits.items():
        most = _below(most, resource.getrlimit(number)[1])
        resource.setrlimit(number, (most, most))


def retune(pid: int, limits: Limits) -> None:
    """Limit another process of this user, until the next time."""
    for number, most in limits.items():
        _, hard = resource.prlimit(pid, number)
        resource.prlimit(pid, number, (_below(most, hard), hard))


def _below(most: int, hard: int) -> int:
    return most if hard == resource.RLIM_INFINITY else min(most, hard)


def data_bytes(pid: int) -> int:
    """The private data of a process, as the kernel counts it for `RLIMIT_DATA`."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
