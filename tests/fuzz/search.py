"""A search in a process of its own, and what came of it.

The rule: whatever the search leaves behind, containers and temporary files too, goes with it; the inputs that broke
a promise stay.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

CASES = Path(__file__).parent / "cases"  # by target, the inputs that once broke a promise
GRACE_S = 120  # beyond its time: imports, seeds, the last input


@dataclass(frozen=True, slots=True)
class Found:
    """What a search has found; `files` are the inputs that broke a promise."""

    target: str
    inputs: int
    branches: int
    files: tuple[Path, ...]
    log: str

    @property
    def broken(self) -> bool:
        return bool(self.files)


def search(target: str, folder: Path, *, seconds: int, runs: int, seed: int) -> Found:
    """Search for `seconds` or `runs`. Raises `RuntimeError` if the search itself fails."""
    folder.mkdir(parents=True, exist_ok=True)
    before = set(folder.iterdir())
    command = [sys.executable, "-m", "tests.fuzz.explore", target, str(folder), str(seconds), str(runs), str(seed)]
    with tempfile.TemporaryDirectory(prefix="instar-search-") as temporary:
        ended = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "TMPDIR": temporary, "PYTHONHASHSEED": "0", "PYTHONWARNINGS": "ignore"},
            timeout=seconds + GRACE_S,
        )
    files = tuple(sorted(set(folder.iterdir()) - before))
    log = ended.stderr + ended.stdout  # the traceback is on the latter
    if not files and ended.returncode != 0:
        raise RuntimeError(f"the search of {target} ended with {ended.returncode}:\n{log[-4000:]}")
    return Found(target, _number(r"number_of_executed_units: (\d+)", log), _number(r"cov: (\d+)", log), files, log)


def _number(pattern: str, log: str) -> int:
    return int((re.findall(pattern, log) or ["0"])[-1])
