"""Kill a process at its n-th write, for every n: a debugger's stops, so that no write is missed and none is faked.

A function runs in a forked child. The kernel stops it before each system call that changes a file system, and after
each `pwrite`, where bytes are there that no map speaks of yet. What is written by storing to shared memory makes no
system call: `marked` adds one, that does nothing, before a store.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
from collections.abc import Callable
from contextlib import suppress

from instar.weights.chunkmap import ChunkMap

# Number of each call, for x86_64 and aarch64; what one of them lacks is written with another one there.
_NUMBERS = {
    "x86_64": {"write": 1, "pwrite64": 18, "fsync": 74, "ftruncate": 77, "rename": 82, "mkdir": 83, "unlink": 87,
               "fchmod": 91, "utimensat": 280, "openat": 257, "fallocate": 285, "getppid": 110},
    "aarch64": {"write": 64, "pwrite64": 68, "fsync": 82, "ftruncate": 46, "renameat": 38, "mkdirat": 34,
                "unlinkat": 35, "fchmod": 52, "utimensat": 88, "openat": 56, "fallocate": 47, "getppid": 173},
}  # fmt: skip
WRITES = {number: name for name, number in _NUMBERS.get(platform.machine(), {}).items()}

_TRACEME, _SYSCALL, _SETOPTIONS, _SYSCALL_INFO = 0, 24, 0x4200, 0x420E
_SYSGOOD, _CLONE, _EXITKILL = 0x1, 0x8, 0x100000
_ALL = 0x40000000  # waitpid: threads, too
_ENTRY, _EXIT = 1, 2

_libc = ctypes.CDLL(None, use_errno=True)
_libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
_libc.ptrace.restype = ctypes.c_long


def run_to(write: int, function: Callable[[], object]) -> tuple[list[str], bool]:
    """Run a function in a process of its own that is killed at its `write`-th write.

    The writes that it came to, the one at which it was killed included; and whether it was. An exception in it fails
    the test.
    """
    pid = os.fork()
    if pid == 0:
        _child(function)
    os.waitpid(pid, _ALL)  # it has stopped itself
    _ptrace(_SETOPTIONS, pid, 0, _SYSGOOD | _CLONE | _EXITKILL)
    _ptrace(_SYSCALL, pid)
    made, is_killed, within = list[str](), False, dict[int, str | None]()
    while True:
        task, status = os.waitpid(-1, _ALL)
        if os.WIFSIGNALED(status) or os.WIFEXITED(status):
            if task == pid:
                assert is_killed or status == 0, f"it ended by itself with {status}"
                return made, is_killed
            continue
        stopped_by = os.WSTOPSIG(status)
        if stopped_by == signal.SIGTRAP | 0x80 and not is_killed and (found := _write(task, within)) is not None:
            made.append(found)
            if len(made) == write:
                is_killed = True
                os.kill(pid, signal.SIGKILL)
                continue
        passed_on = 0 if stopped_by in (signal.SIGTRAP, signal.SIGTRAP | 0x80, signal.SIGSTOP) else stopped_by
        with suppress(ProcessLookupError):  # it was killed just now
            _ptrace(_SYSCALL, task, 0, passed_on)


def marked() -> None:
    """In a child: have each store to a chunk map stand between two system calls."""
    ring = ChunkMap.ring

    def ring_between(self: ChunkMap) -> None:
        os.getppid()
        ring(self)
        os.getppid()

    ChunkMap.ring = ring_between  # type: ignore[method-assign]


def _child(function: Callable[[], object]) -> None:
    try:
        _ptrace(_TRACEME, 0)
        os.kill(os.getpid(), signal.SIGSTOP)
        marked()
        function()
    except BaseException as error:
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
        os._exit(1)
    os._exit(0)


def _write(task: int, within: dict[int, str | None]) -> str | None:
    """The write that a thread is about to make or, if that tells more, has made.

    None for a thread that is gone since it stopped: its process came to its end on another thread.
    """
    info = ctypes.create_string_buffer(88)
    try:
        _ptrace(_SYSCALL_INFO, task, len(info), ctypes.addressof(info))
    except ProcessLookupError:
        return None
    if info.raw[0] == _ENTRY:
        number, _, _, flags = struct.unpack_from("<4Q", info.raw, 24)
        name = WRITES.get(number)
        if name == "openat" and not flags & os.O_CREAT:
            name = None
        within[task] = name
        return name
    return "pwrite64, made" if info.raw[0] == _EXIT and within.get(task) == "pwrite64" else None


def _ptrace(request: int, task: int, address: int = 0, data: int = 0) -> None:
    if _libc.ptrace(request, task, address, data) < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"ptrace {request:#x} of {task} on {sys.platform}: {os.strerror(number)}")
