"""Files that stay in memory: a machine may drop pages that nobody has mapped at any moment, however new they are."""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path


@contextmanager
def kept(paths: Iterable[Path]) -> Iterator[None]:
    """Have all of these files in memory until the block ends."""
    with ExitStack() as stack:
        for path in paths:
            with path.open("rb") as file:
                mapping = mmap.mmap(file.fileno(), 0, mmap.MAP_SHARED, mmap.PROT_READ)
            stack.enter_context(mapping)
            assert mapping[:: mmap.PAGESIZE]  # touches each page
        yield
