"""The costs that the benchmark of transformations plans with: what `instar profile` measured on this kind of device.

The rule: they are the very ones that a controller would plan with, and never those of another device. Where there are
none yet, `instar profile` is run first, in a process of its own.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from instar import profiles
from instar.profiles import Profile

COMMAND = Path(sys.executable).with_name("instar")


def profile_of_this_device(environ: Mapping[str, str]) -> Profile:
    """Raises `RuntimeError` if `instar profile` leaves none for this kind of device."""
    folder, device = profiles.folder(environ), profiles.device_kind()
    found = profiles.find(folder, device)
    if found is None:
        # Its words go to standard error, since standard output may have to be one JSON object.
        subprocess.run([COMMAND, "profile"], check=True, stdout=sys.stderr.fileno(), env=dict(environ))
        found = profiles.find(folder, device)
    if found is None:
        raise RuntimeError(f"`instar profile` left no profile of {device!r} in {folder}")
    return found
