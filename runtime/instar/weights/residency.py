"""Files of the store that are on the disk but not in memory: read in the order in which they will be used.

The rule: it changes nothing but time. One thread reads the file from its first byte to its last, and who runs the
model waits for what it needs: a disk is fastest when it is asked for one thing after the other, and a program that
ran into missing pages by itself would ask for others in between (3.6 GB/s by one thread, 1.1 to 2.9 by two).
"""

from __future__ import annotations

import errno
import os
import threading

from instar.errors import SourceError

SAMPLES = 64  # places at which a file is looked for in memory
PIECE_BYTES = 1 << 20


def is_in_memory(descriptor: int, nbytes: int) -> bool:
    """Whether a file is in the page cache, as far as a few samples tell; taken to be where none can be had."""
    byte = bytearray(1)
    try:
        for at in range(0, nbytes, max(1, nbytes // SAMPLES)):
            os.preadv(descriptor, [byte], at, os.RWF_NOWAIT)
    except OSError as error:
        return error.errno != errno.EAGAIN
    return True


class Reading:
    """One file's way from the disk into memory. Its thread ends with it, or with `stop`."""

    def __init__(self, descriptor: int, nbytes: int) -> None:
        self._descriptor = os.dup(descriptor)
        self._nbytes = nbytes
        self.error: SourceError | None = None  # why the disk does not give it
        self._is_stopped = False
        self._moved = threading.Condition()
        self.reached = 0  # bytes, from the first one on
        threading.Thread(target=self._read, name="instar-fetch", daemon=True).start()

    @property
    def is_over(self) -> bool:
        """Whether all of the file is in memory."""
        return self.reached >= self._nbytes

    def wait(self, reach: int) -> None:
        """Return when the first `reach` bytes are in memory. Raises `SourceError` if the disk does not give them."""
        with self._moved:
            while self.reached < reach:
                if self.error is not None:
                    raise self.error
                if self._is_stopped:
                    raise SourceError("nobody waits for these weights any more")
                self._moved.wait()

    def stop(self) -> None:
        """Read no further, and have whoever waits give up."""
        with self._moved:
            self._is_stopped = True
            self._moved.notify_all()

    def _read(self) -> None:
        piece = memoryview(bytearray(PIECE_BYTES))
        try:
            while not self.is_over and not self._is_stopped:
                count = os.preadv(self._descriptor, [piece], self.reached)
                with self._moved:
                    self.reached = self.reached + count if count else self._nbytes
                    self._moved.notify_all()
        except OSError as error:
            with self._moved:
                self.error = SourceError(
                    f"the disk does not give the weights in the node's store: {error.strerror}; "
                    "`instar store verify` finds damaged files"
                )
                self._moved.notify_all()
        finally:
            os.close(self._descriptor)
