"""A disk of its own for a directory, so small that a test can fill it, and make room on it again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

FILLER = "filler"  # the test's own file


class SmallDisk:
    """A mounted directory."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def fill(self) -> None:
        """Take all room that is left, to the last byte."""
        with (self.path / FILLER).open("ab", buffering=0) as filler:
            block = bytes(4096)
            while True:
                try:
                    if filler.write(block) < len(block):
                        continue  # the rest of it fails
                except OSError:
                    return

    def make_room(self) -> None:
        (self.path / FILLER).unlink()

    def grow(self, size_bytes: int) -> None:
        """Be so large from now on."""
        command = ["mount", "-o", f"remount,size={size_bytes}", str(self.path)]
        subprocess.run(command, check=True, capture_output=True)


@contextmanager
def mounted(path: Path, *, size_bytes: int) -> Iterator[SmallDisk]:
    """A disk at `path`, of memory, until the context ends. Skips the test where that takes rights that it lacks."""
    path.mkdir(parents=True, exist_ok=True)
    options = f"size={size_bytes},mode=755"
    command = ["mount", "-t", "tmpfs", "-o", options, "instar-test", str(path)]
    if os.geteuid() != 0 or (done := subprocess.run(command, capture_output=True, text=True)).returncode:
        why = "it takes root" if os.geteuid() != 0 else done.stderr.strip()
        pytest.skip(f"no disk can be mounted here: {why}")
    try:
        yield SmallDisk(path)
    finally:
        # Lazily: somebody may still have a file of it open for a moment.
        subprocess.run(["umount", "--lazy", str(path)], check=True, capture_output=True)
