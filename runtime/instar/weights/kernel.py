"""The few calls of the system that Python has no name for: futex, fallocate, memory by address, the processor.

The rule: each either does what it says or raises `OSError`; none of them holds Python's lock while it waits.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import platform

_FUTEX = {"x86_64": 202, "aarch64": 98}.get(platform.machine())
_FUTEX_WAIT, _FUTEX_WAKE = 0, 1
_MAP_FAILED = ctypes.c_void_p(-1).value
_MAP_FIXED = 0x10  # of Linux, wherever there is a torch; Python has no name for it
_EVERYBODY = 2**31 - 1

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long]
_libc.syscall.restype = ctypes.c_long


class _Timespec(ctypes.Structure):
    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


class Shared:
    """A shared mapping of a file's first bytes, at an address that can be waited on. `close` unmaps it."""

    def __init__(self, descriptor: int, nbytes: int, *, writable: bool) -> None:
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        address = _libc.mmap(None, nbytes, protection, mmap.MAP_SHARED, descriptor, 0)
        if address in (None, _MAP_FAILED):
            raise _error("mmap")
        self._address = int(address)
        self._nbytes = nbytes
        view = memoryview((ctypes.c_ubyte * nbytes).from_address(self._address)).cast("B")
        self.bytes = view if writable else view.toreadonly()

    def word(self, at: int) -> int:
        """The 32 bits at an offset, a multiple of four, as they are at this moment."""
        return int.from_bytes(self.bytes[at : at + 4], "little")

    def wait(self, at: int, seen: int, timeout_s: float) -> None:
        """Wait until somebody wakes those who wait at `at`; not at all if its word is no longer `seen`."""
        if _FUTEX is None:
            raise OSError(errno.ENOSYS, f"no futex is known for {platform.machine()}")
        nanoseconds = max(0, int(timeout_s * 1e9))
        limit = _Timespec(nanoseconds // 10**9, nanoseconds % 10**9)
        word = ctypes.c_void_p(self._address + at)
        _libc.syscall(
            ctypes.c_long(_FUTEX or 0), word, _FUTEX_WAIT, ctypes.c_uint32(seen), ctypes.byref(limit), None, 0
        )  # woken, interrupted, timed out, or the word was another already: the caller looks again

    def wake(self, at: int) -> None:
        """Wake everybody, in any process, who waits at `at`."""
        _libc.syscall(ctypes.c_long(_FUTEX or 0), ctypes.c_void_p(self._address + at), _FUTEX_WAKE, _EVERYBODY)

    def close(self) -> None:
        """Unmap it. Nobody may look at it, or wait, any more."""
        if self._address:
            self.bytes = memoryview(b"")
            _libc.munmap(self._address, self._nbytes)
            self._address = 0


def allocate(descriptor: int, nbytes: int) -> None:
    """Make a file `nbytes` long with all its space reserved: so it cannot run out of it later.

    Where the file system cannot reserve space, the file only gets its length. Raises `OSError` if there is no space.
    """
    if _libc.fallocate(descriptor, 0, 0, nbytes) == 0:
        return
    error = _error("fallocate")
    if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
        raise error
    os.ftruncate(descriptor, nbytes)


def map_over(address: int, nbytes: int, descriptor: int) -> None:
    """Have the first bytes of a file, to be read only, take the place of what is mapped at an address, all at once.

    The caller owns these addresses.
    """
    _map_fixed(address, nbytes, mmap.PROT_READ, mmap.MAP_SHARED, descriptor)


def cover(address: int, nbytes: int) -> None:
    """Have nothing be there at an address of the caller's; the addresses stay taken."""
    _map_fixed(address, nbytes, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1)


def _map_fixed(address: int, nbytes: int, protection: int, flags: int, descriptor: int) -> None:
    if _libc.mmap(address, nbytes, protection, flags | _MAP_FIXED, descriptor, 0) == _MAP_FAILED:
        raise _error("mmap")


def trim() -> None:
    """Give freed memory back to the system, page by page, as far as the C library can."""
    with contextlib.suppress(AttributeError):  # a C library that keeps none
        _libc.malloc_trim(0)


def processor() -> int:
    """The number of the processor that the calling thread runs on at this moment."""
    return int(_libc.sched_getcpu())


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
