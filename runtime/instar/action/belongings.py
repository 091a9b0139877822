"""What a worker that is a user of its own can call its own: the function's directory, and an environment to match.

The rule: what a program asks of its surroundings has an answer for a user that no file knows: a home, a name, a
place for temporary files, and streams that can be opened by name.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

USER = "instar"
TEMPORARY = "/tmp"
WRITE_ONLY = 0o622


def hand_over(directory: Path, uid: int) -> None:
    """Give a directory and all in it to a user. Raises `OSError` where this process may not."""
    os.chown(directory, uid, uid)
    for folder, below, files in os.walk(directory):
        for name in below + files:
            os.chown(os.path.join(folder, name), uid, uid, follow_symlinks=False)


def environment(directory: Path) -> dict[str, str]:
    """The variables that tell a program whose it is and where it may write."""
    return {"HOME": str(directory), "TMPDIR": TEMPORARY, "USER": USER, "LOGNAME": USER}


def open_streams() -> None:
    """Let the worker open `/dev/stdout` and `/dev/stderr`, where they are pipes; not to read them."""
    for stream in (1, 2):
        try:
            if stat.S_ISFIFO(os.fstat(stream).st_mode):
                os.fchmod(stream, WRITE_ONLY)
        except OSError:
            continue  # not ours to open: writing to the descriptors themselves works all the same
