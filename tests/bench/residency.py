"""Which pages of a file lie in the page cache, and how to be rid of them before something is measured "from disk".

The rule: what was dropped is looked for afterwards with `mincore`, page by page. The advice to drop pages is only
advice: dirty pages stay, and so does whatever a process has mapped and touched.

What lies below the kernel, such as the cache of a hypervisor, cannot be seen from here. What can be felt is where it
gives memory only when a page is touched, and takes back what is free: writing a gigabyte of new pages took 0.1 to 3 s
on one and the same virtual machine. `touch_free_memory` has it give some beforehand.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import tempfile
import time
from pathlib import Path

import numpy as np

READ_BYTES = 1024 * 1024
TRIES, TRY_S = 50, 0.01
_libc = ctypes.CDLL(None, use_errno=True)


def resident_bytes(path: Path) -> int:
    """How much of a file lies in the page cache, in whole pages."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size == 0:
            return 0
        with mmap.mmap(file.fileno(), size, mmap.MAP_SHARED, mmap.PROT_READ) as mapping:
            pages = np.empty(-(-size // mmap.PAGESIZE), dtype=np.uint8)
            whole = np.frombuffer(mapping, dtype=np.uint8)  # numpy tells the address of what is read-only, too
            found = _libc.mincore(
                ctypes.c_void_p(whole.ctypes.data), ctypes.c_size_t(size), ctypes.c_void_p(pages.ctypes.data)
            )
            del whole
            if found != 0:
                raise OSError(ctypes.get_errno(), f"mincore on {path}")
        return int((pages & 1).sum()) * mmap.PAGESIZE


def drop(path: Path) -> None:
    """Leave no page of a file in the page cache. Raises `RuntimeError` where one stays."""
    left = 0
    with path.open("rb") as file:
        os.fsync(file.fileno())
        for _ in range(TRIES):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            if (left := resident_bytes(path)) == 0:
                return
            time.sleep(TRY_S)  # what a socket still holds stays for a moment; nothing tells when it goes
    raise RuntimeError(f"{left} bytes of {path} stay in the page cache; does a process still have it mapped?")


def fill(path: Path) -> None:
    """Bring all of a file into the page cache."""
    buffer = memoryview(bytearray(READ_BYTES))
    with path.open("rb", buffering=0) as file:
        while file.readinto(buffer):
            pass
    missing = path.stat().st_size - resident_bytes(path)
    if missing > 0:
        raise RuntimeError(f"{missing} bytes of {path} do not stay in the page cache; is there memory for them?")


def touch_free_memory(folder: Path, nbytes: int) -> None:
    """Have as much free memory really there, for what comes next, as a machine of one's own has.

    A file without a block is read into the page cache, page by page, and removed, so that these pages are free again
    and, being the last ones, the first to be taken. Nothing goes to the disk of the folder.
    """
    buffer = memoryview(bytearray(READ_BYTES))
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.truncate(nbytes)
        for at in range(0, nbytes, READ_BYTES):
            os.preadv(file.fileno(), [buffer], at)


def disk_rate(path: Path) -> float:
    """Bytes a second at which a file that is not in the page cache is read from front to back. Drops it first.

    One thread, the kernel told that all of it will be wanted, into a buffer that is touched beforehand: the fastest
    plain way found here.
    """
    drop(path)
    buffer = memoryview(bytearray(READ_BYTES))
    begin = time.perf_counter()
    with path.open("rb", buffering=0) as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_SEQUENTIAL)
        total = 0
        while count := file.readinto(buffer):
            total += count
    return total / (time.perf_counter() - begin)
