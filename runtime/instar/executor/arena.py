"""Memory that a worker and the executor share, to hand each other tensors without sending them.

The rule: the executor makes it and seals its size before a worker sees it, so no access to it can fault; and
whoever reads a tensor that the other side can still change copies it first, then looks at it.

The kernel gives its pages when they are touched; a large arena costs nothing until large tensors pass.
"""

from __future__ import annotations

import fcntl
import mmap
import os

import torch

from instar.errors import InputError, ProtocolError
from instar.executor.protocol import TensorRef

START_BYTES = 16 << 20
SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


class Arena:
    """A mapping of one memory file, which must be sealed. Closes nothing: the mapping ends with the object."""

    def __init__(self, descriptor: int, nbytes: int) -> None:
        if nbytes <= 0 or os.fstat(descriptor).st_size != nbytes:
            raise ProtocolError(f"the arena's file does not have the {nbytes} bytes that it should have")
        self.nbytes = nbytes
        self._bytes = torch.frombuffer(mmap.mmap(descriptor, nbytes), dtype=torch.uint8)

    def view(self, ref: TensorRef) -> torch.Tensor:
        """The tensor in place; the other side may still change it. Raises `ProtocolError` if it is not inside."""
        end = ref.offset + ref.nbytes
        if end > self.nbytes:
            raise ProtocolError(f"tensor {ref.name!r} ends at byte {end} of an arena of {self.nbytes}")
        dtype = getattr(torch, ref.dtype)
        if ref.nbytes == 0:
            return torch.empty(ref.shape, dtype=dtype)
        return self._bytes[ref.offset : end].view(dtype).view(ref.shape)


def create(nbytes: int, *, limit_bytes: int) -> int:
    """The descriptor of a new memory file of exactly `nbytes`, sealed. Raises `InputError` above the limit."""
    if nbytes > limit_bytes:
        raise InputError(
            f"the tensors of this call take {nbytes} bytes; at most {limit_bytes} pass between an action and its "
            "models: call with smaller batches, or raise INSTAR_ARENA_MIB"
        )
    descriptor = os.memfd_create("instar-arena", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        os.ftruncate(descriptor, nbytes)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, SEALS)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def rounded(nbytes: int, *, limit_bytes: int) -> int:
    """How large to make an arena for `nbytes`: powers of two from `START_BYTES`, so that few are made."""
    size = START_BYTES
    while size < nbytes:
        size *= 2
    return max(nbytes, min(size, limit_bytes))


def dtype_name(tensor: torch.Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
