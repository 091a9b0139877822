"""What an executor works out of a package and keeps for the next one: values that `marshal` takes, in files.

The rule: what is read is what was written, by somebody who may decide what this process runs. A file is used only if
it and its folder belong to this user and nobody else may write them, or lie on a read-only mount, as a node's store
does in a container; and only if its content has the digest that stands at its beginning.

A folder that cannot be used costs time and nothing else. What a name stands for is its user's affair.
"""

from __future__ import annotations

import logging
import marshal
import os
import stat
from pathlib import Path
from typing import Any

from instar import digests, whole_files

logger = logging.getLogger(__name__)


def read(path: Path) -> Any | None:
    """The values that are kept in a file; none if there is no such file, or it is not to be trusted or damaged."""
    try:
        with open(path, "rb", buffering=0) as file:
            if not _is_trusted(file.fileno()) or not _is_trusted(os.path.dirname(path)):
                return None
            data = memoryview(file.read())
    except OSError:
        return None
    payload = data[digests.NBYTES :]
    if digests.digest(payload) != data[: digests.NBYTES]:
        return None  # cut short by a crash or a full disk; it is written again
    return marshal.loads(payload)


def write(path: Path, values: Any) -> None:
    """Keep these values in a file, if its folder can be used."""
    payload = marshal.dumps(values)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)  # a container of another user may read it
        if not _is_ours(path.parent):
            return
        whole_files.write(path, digests.digest(payload) + payload)
    except OSError as error:
        logger.info("%s is not kept in %s: %s", path.name, path.parent, error)


def _is_trusted(place: int | str | Path) -> bool:
    return _is_ours(place) or bool(os.statvfs(place).f_flag & os.ST_RDONLY)


def _is_ours(place: int | str | Path) -> bool:
    """Whether a file or folder belongs to this user and only they may write it."""
    status = os.stat(place)
    return status.st_uid == os.geteuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
