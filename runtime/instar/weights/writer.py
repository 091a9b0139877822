"""Writes a weights file: tensors in order, digests on the way.

The one rule: a path either holds a whole, synced file or nothing; what was half-written is removed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from instar import digests
from instar.weights import layout


@dataclass(frozen=True, slots=True)
class Written:
    """What was written: size in bytes, the digest of each chunk of the file and of each tensor's bytes."""

    size: int
    chunks: tuple[str, ...]
    tensors: tuple[str, ...]


def write(
    path: Path,
    plan: layout.Layout,
    tensors: Iterable[memoryview],
    progress: Callable[[int], object] = lambda _: None,
) -> Written:
    """Write a file as `plan` says; `tensors` gives each tensor's bytes in the plan's order.

    `progress` is told the number of bytes after each piece. Raises `OSError` (no space, no permission); then no
    file is left at `path`.
    """
    of_tensors: list[str] = []
    chunks = _Chunks()
    try:
        with path.open("xb") as file:
            for piece in _pieces(plan, tensors, of_tensors):
                file.write(piece)
                chunks.feed(piece)
                progress(len(piece))
            file.flush()
            os.fsync(file.fileno())
    except BaseException as error:
        if not isinstance(error, FileExistsError):
            path.unlink(missing_ok=True)
        raise
    return Written(plan.size, chunks.finish(), tuple(of_tensors))


def _pieces(plan: layout.Layout, tensors: Iterable[memoryview], of_tensors: list[str]) -> Iterator[memoryview]:
    yield memoryview(plan.header)
    position = len(plan.header)
    for offset, data in zip(plan.offsets, tensors, strict=True):
        if offset > position:
            yield memoryview(bytes(offset - position))
        of_tensors.append(digests.hexdigest(data))
        for begin in range(0, len(data), layout.CHUNK_BYTES):
            yield data[begin : begin + layout.CHUNK_BYTES]
        position = offset + len(data)
    assert position == plan.size, (position, plan.size)


class _Chunks:
    """The digest of each whole chunk of what is fed to it."""

    def __init__(self) -> None:
        self._done: list[str] = []
        self._hash = digests.new()
        self._room = layout.CHUNK_BYTES

    def feed(self, data: memoryview) -> None:
        while len(data):
            part = data[: self._room]
            self._hash.update(part)
            self._room -= len(part)
            data = data[len(part) :]
            if self._room == 0:
                self._close()

    def finish(self) -> tuple[str, ...]:
        if self._room < layout.CHUNK_BYTES:
            self._close()
        return tuple(self._done)

    def _close(self) -> None:
        self._done.append(self._hash.hexdigest())
        self._hash, self._room = digests.new(), layout.CHUNK_BYTES
