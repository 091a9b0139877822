"""Where a live model's weights lie in memory: addresses of ours, at which one file can be read, and later another.

The rule: what can be read there is one file or nothing, and the addresses stay ours until the last tensor that was
made for them has gone. Another file takes the first one's place in one system call, whatever its size; what lies
beyond the end of a shorter one goes before.

Tensors do not notice which file they look at. Whoever replaces it sees to it that nobody uses them (`live.py`).
"""

from __future__ import annotations

import mmap
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from instar.errors import SourceError
from instar.executor.prepare import View
from instar.weights import kernel

# Address space costs nothing. With room to spare, a larger model can take the place of a smaller one.
LEAST_BYTES = 1 << 30


class WeightsMapping:
    """Addresses for weights files. They are given back when it and every tensor that it made have gone."""

    def __init__(self, nbytes: int) -> None:
        """Room for files of `nbytes` and somewhat more; nothing can be read yet. Raises `OSError` without room."""
        self.nbytes = max(LEAST_BYTES, 1 << (2 * nbytes - 1).bit_length())  # a multiple of every element's size
        # Not the system's call alone: torch keeps this object alive for as long as a tensor lies in it, and its end
        # unmaps it.
        self._space = mmap.mmap(-1, self.nbytes, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, prot=0)
        with warnings.catch_warnings(), torch.inference_mode():
            # It is read-only on purpose; torch warns that writing to it would crash.
            warnings.simplefilter("ignore", UserWarning)
            self._whole = torch.frombuffer(self._space, dtype=torch.uint8)
        self._address = self._whole.data_ptr()
        self._shown_bytes = 0

    def __repr__(self) -> str:
        return f"<WeightsMapping {self._shown_bytes} of {self.nbytes} bytes at {self._address:#x}>"

    def has_room(self, nbytes: int) -> bool:
        """Whether a file of so many bytes can be shown here."""
        return nbytes <= self.nbytes

    def show(self, descriptor: int, nbytes: int) -> None:
        """Have a file be what can be read here from now on, and nothing of the one before.

        The file keeps this size for as long as it is shown: reading beyond its end would end the process. Raises
        `SourceError` if it is shorter already, `OSError` if it cannot be mapped.
        """
        if (found := os.fstat(descriptor).st_size) < nbytes:
            raise SourceError(f"the weights file has {found} bytes instead of {nbytes}: `instar store verify`")
        end = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if end < self._shown_bytes:
            kernel.cover(self._address + end, self._shown_bytes - end)
        kernel.map_over(self._address, nbytes, descriptor)
        self._shown_bytes = end

    def hide(self) -> None:
        """Have nothing be there to read. A tensor that is read all the same ends the process."""
        kernel.cover(self._address, self.nbytes)
        self._shown_bytes = 0

    def rest(self) -> None:
        """Forget which pages have been read: replacing the file is cheap then, and reading looks them up again."""
        self._space.madvise(mmap.MADV_DONTNEED)

    def views(self, views: Sequence[View]) -> list[torch.Tensor]:
        """Tensors that look at these places of whatever is shown, now and later."""
        with torch.inference_mode():
            of_dtype = {dtype: self._whole.view(getattr(torch, dtype)) for dtype in {view[0] for view in views}}
            as_strided = torch.as_strided
            return [as_strided(of_dtype[dtype], shape, strides, at) for dtype, shape, strides, at in views]

    def holds(self, tensor: torch.Tensor) -> bool:
        """Whether a tensor looks at bytes that are shown here."""
        return 0 <= tensor.data_ptr() - self._address < self.nbytes


@dataclass(frozen=True, slots=True)
class Bound:
    """Weights that a program can use: one tensor for each, all of them in one mapping."""

    mapping: WeightsMapping
    weights: list[torch.Tensor]
