"""Which process of a container may do what.

The rule: a process gives up what it does not need before it does anything else, and what cannot be given up as it
should is an error at the start, not a container that is half isolated. User code meets a process only after that.

    process    Apart: user, capabilities                 Guarded: one user for all
    --------   ---------------------------------------   ----------------------------------
    master     65532: become another user, kill           its user's; memory unreadable
    zygote     65532: the same, and give files away       the same
    proxy      65532: none                                the same
    executor   65532: none                                the same
    worker     its own: none                              its user's; no new privileges

What the zygote has forked beforehand, to be a worker or to clear up after one, is as the zygote until it is told so.

`Plain` leaves everything as it was started, which is what a laptop wants. In the other two no process can gain
privileges by executing a program, and user code can neither trace the other processes nor read their memory or
environment. The kernel counts processes per user over the whole node, so each container draws a worker's user of
its own.

How much a worker may take is said in `limits`, and what is done with what it leaves in `remains`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import resource
from collections.abc import Collection
from dataclasses import dataclass
from enum import Enum, IntEnum, auto

from instar.action import processes

RUNTIME_UID = 65532  # master, proxy, zygote, executor
REAPER_UID = 65531  # real user of a process that ends a worker's: the worker cannot signal it
FIXED_UID = 65533  # of a worker where few users are mapped, as in a user namespace
# Beyond the users of login systems and of container managers (systemd.io/UIDS-GIDS), below 2^31.
FIRST_UID, LAST_UID = 0x7000_0000, 0x7FFF_FFF0
WORKER_OOM_SCORE = 1000  # the kernel ends it first when the container's memory is exhausted


class Capability(IntEnum):
    """Of linux/capability.h."""

    CHOWN = 0
    KILL = 5
    SETGID = 6
    SETUID = 7


class Role(Enum):
    """A process of ours."""

    MASTER = auto()
    ZYGOTE = auto()
    PROXY = auto()
    EXECUTOR = auto()


_ENDS_WORKERS = frozenset({Capability.SETUID, Capability.SETGID, Capability.KILL})
KEPT = {
    Role.MASTER: _ENDS_WORKERS,
    Role.ZYGOTE: _ENDS_WORKERS | {Capability.CHOWN},
    Role.PROXY: frozenset[Capability](),
    Role.EXECUTOR: frozenset[Capability](),
}


@dataclass(frozen=True, slots=True)
class Plain:
    """All processes are the user's who started them."""

    def __str__(self) -> str:
        return "plain"


@dataclass(frozen=True, slots=True)
class Guarded:
    """As `Plain`, but ours cannot be read, and nobody gains privileges."""

    def __str__(self) -> str:
        return "guarded"


@dataclass(frozen=True, slots=True)
class Apart:
    """The worker is a user of its own."""

    worker_uid: int

    def __str__(self) -> str:
        return f"apart:{self.worker_uid}"


Isolation = Plain | Guarded | Apart


def parse(text: str) -> Isolation:
    """The inverse of `str`. Raises `ValueError`."""
    kind, _, uid = text.partition(":")
    match kind:
        case "plain":
            return Plain()
        case "guarded":
            return Guarded()
        case "apart":
            return Apart(int(uid))
    raise ValueError(f"{text!r} is no isolation")


def draw(uid_map: str, gid_map: str, *, number: int) -> int | None:
    """A worker's user, if this user namespace has one to spare; `number` is a large random one.

    The maps are those of `/proc/self`.
    """
    wide = FIRST_UID + number % (LAST_UID - FIRST_UID)
    for uid in (wide, FIXED_UID):
        if all(_maps(text, one) for text in (uid_map, gid_map) for one in (uid, RUNTIME_UID, REAPER_UID)):
            return uid
    return None


def missing() -> list[str]:
    """The capabilities, by name, that are needed to set a worker apart and that this process lacks."""
    effective = _capabilities()
    return sorted(one.name for one in KEPT[Role.ZYGOTE] if not effective >> one & 1)


def become(role: Role, isolation: Isolation) -> None:
    """Be this process of ours for good. Raises `OSError` where the kernel refuses."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core file would hold what others sent
    match isolation:
        case Plain():
            return
        case Apart():
            _become(RUNTIME_UID, KEPT[role])
            os.umask(0o022)  # the worker may read what it is shown, and write none of it
    _gain_nothing()
    processes.prctl(processes.PR_SET_DUMPABLE, 0)


def become_worker(isolation: Isolation) -> None:
    """Be the worker for good, before any user code. Raises `OSError` where the kernel refuses."""
    match isolation:
        case Plain():
            return
        case Apart(uid):
            _become(uid, frozenset())
    _gain_nothing()
    # The change of user took this away; a process looks at itself in /proc, and that holds nothing of ours.
    processes.prctl(processes.PR_SET_DUMPABLE, 1)
    with contextlib.suppress(OSError), open("/proc/self/oom_score_adj", "w") as file:  # no privilege, but an order
        file.write(str(WORKER_OOM_SCORE))


def become_reaper(uid: int) -> None:
    """Have the rights of the user `uid` over its processes and files, out of reach of its signals."""
    _become(REAPER_UID, _ENDS_WORKERS)
    os.setresuid(REAPER_UID, uid, REAPER_UID)
    _set_capabilities(frozenset())


def return_to_root() -> None:
    """Be root again, by name and without root's capabilities: the master may, to remove what root has made."""
    os.seteuid(0)


def _become(uid: int, kept: Collection[Capability]) -> None:
    if len(os.listdir("/proc/self/task")) != 1:  # each thread has capabilities of its own
        raise OSError(errno.EPERM, "a process that has threads already cannot give up its privileges")
    _empty_bounding_set()
    # Else the change from root to another user would take all capabilities away.
    processes.prctl(processes.PR_SET_KEEPCAPS, 1)
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)
    _set_capabilities(kept)  # the change from one plain user to another keeps all of them


def _gain_nothing() -> None:
    """No program that is executed from here on has more rights than who executes it."""
    processes.prctl(processes.PR_SET_NO_NEW_PRIVS, 1)


def _empty_bounding_set() -> None:
    number = 0
    while True:
        try:
            processes.prctl(processes.PR_CAPBSET_DROP, number)
        except OSError as error:
            # EINVAL: that was the last one. EPERM: it is not ours to change, and `_gain_nothing` bounds it anyway.
            if error.errno in (errno.EINVAL, errno.EPERM):
                return
            raise
        number += 1


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Sets(ctypes.Structure):
    """Capabilities 0 to 31, or 32 and above."""

    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


_VERSION_3 = 0x20080522


def _capabilities() -> int:
    """The effective ones, a bit each."""
    sets = (_Sets * 2)()
    processes.checked("capget", processes.libc().capget(ctypes.byref(_Header(_VERSION_3, 0)), sets))
    return int(sets[0].effective | sets[1].effective << 32)


def _set_capabilities(kept: Collection[Capability]) -> None:
    """Keep these as permitted and effective ones; none is inherited, and so none is ambient."""
    bits = sum(1 << one for one in kept)
    sets = (_Sets * 2)(_Sets(bits, bits, 0), _Sets(0, 0, 0))
    processes.checked("capset", processes.libc().capset(ctypes.byref(_Header(_VERSION_3, 0)), sets))


def _maps(text: str, uid: int) -> bool:
    ranges = (tuple(map(int, line.split())) for line in text.splitlines())
    return any(first <= uid < first + count for first, _, count in ranges)
