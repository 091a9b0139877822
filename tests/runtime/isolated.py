"""Containers of local processes that isolate the function, which takes root.

The runtime's user must be able to read the interpreter and to reach the container's folder. What belongs to the one
who runs the tests often is closed to others; then another interpreter of the same version is looked for.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import pytest
import torch

import instar
from tests.runtime.containers import Container

VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start a process as another user")


class Isolated(Container):
    """A container in a folder that everybody may pass through. `close` ends it and removes the folder."""

    def __init__(self, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="instar-isolated-"))
        self.folder.chmod(0o755)
        libraries = {str(Path(module.__path__[0]).parent): None for module in (instar, torch)}
        found = {"PYTHONPATH": os.pathsep.join(libraries), **(environ or {})}
        with mock.patch.object(sys, "executable", interpreter()):
            super().__init__(self.folder / "container", *arguments, environ=found)

    def close(self) -> None:
        super().close()
        shutil.rmtree(self.folder)


def interpreter() -> str:
    """A Python of this version that every user may run. Skips the test if there is none, and fails in CI."""
    candidates = [sys.executable, *(shutil.which(f"python{VERSION}", path=p) for p in ("/usr/local/bin", "/usr/bin"))]
    for candidate in filter(None, candidates):
        library = subprocess.check_output([candidate, "-c", "import os; print(os.__file__)"], text=True).strip()
        if all(_is_open(Path(os.path.realpath(path))) for path in (candidate, library)):
            return candidate
    reason = f"no Python {VERSION} that every user may run: {sys.executable} lies in a closed folder"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


def _is_open(path: Path) -> bool:
    return all(folder.stat().st_mode & 0o001 for folder in path.parents) and bool(path.stat().st_mode & 0o004)
