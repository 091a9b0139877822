"""Files of the store that are on the disk but not in memory: read ahead in the order in which they will be used.

The rule: it changes nothing but time. A program that meets a page which is not there yet waits for that page alone;
read in order and in large pieces, the disk stays busy while the program computes.
"""

from __future__ import annotations

import errno
import os

SAMPLES = 64  # places at which a file is looked for in memory
AHEAD_BYTES = 8 << 20  # asked of the kernel at once


def is_in_memory(descriptor: int, nbytes: int) -> bool:
    """Whether a file is in the page cache, as far as a few samples tell; taken to be where none can be had."""
    byte = bytearray(1)
    try:
        for at in range(0, nbytes, max(1, nbytes // SAMPLES)):
            os.preadv(descriptor, [byte], at, os.RWF_NOWAIT)
    except OSError as error:
        return error.errno != errno.EAGAIN
    return True


def read_ahead(descriptor: int, nbytes: int) -> None:
    """Have the kernel read a file into memory, from its first byte to its last. Owns the descriptor."""
    try:
        for at in range(0, nbytes, AHEAD_BYTES):
            os.posix_fadvise(descriptor, at, AHEAD_BYTES, os.POSIX_FADV_WILLNEED)
    finally:
        os.close(descriptor)
