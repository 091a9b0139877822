"""A file is seen whole, or not at all.

One rule: it is written beside its place and takes that when it is complete, so whoever opens it meanwhile, and
whoever comes after a crash, finds what was there before or all of the new one. Nothing is synced here: who must not
lose it with the machine's power syncs it before the block ends.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO


@contextmanager
def written(path: Path, mode: int = 0o644) -> Iterator[BinaryIO]:
    """A new file that is at `path`, with this mode, once the block has ended well; else nothing has changed.

    Its folder has to be there. Raises `OSError`, and whatever the block does.
    """
    handle, beside = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            os.fchmod(file.fileno(), mode)
        os.replace(beside, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(beside)
        raise


def write(path: Path, data: bytes, mode: int = 0o644) -> None:
    """The same for what is at hand as a whole."""
    with written(path, mode) as file:
        file.write(data)
