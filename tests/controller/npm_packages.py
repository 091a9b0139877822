"""The npm packages of `npm/package-lock.json`, installed when the first test asks for one.

One rule: where npm is missing the tests that need it are skipped with that reason on a laptop, and fail in CI.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent / "npm"


def folder_of(package: str) -> Path:
    """Where the package lies, in the version that `package.json` names."""
    with (FOLDER / "package.json").open(encoding="utf-8") as manifest:
        wanted = json.load(manifest)["dependencies"][package]
        fcntl.flock(manifest, fcntl.LOCK_EX)  # two runs of the tests install once
        folder = FOLDER / "node_modules" / package
        if not _is_installed(folder, wanted):
            _install()
        return folder


def _is_installed(folder: Path, wanted: str) -> bool:
    manifest = folder / "package.json"
    return manifest.exists() and json.loads(manifest.read_text(encoding="utf-8"))["version"] == wanted


def _install() -> None:
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        _missing("npm and node are not installed")
        return
    command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, timeout=300, check=False)
    if done.returncode:
        _missing(f"npm ci failed: {done.stderr[-500:]}")


def _missing(why: str) -> None:
    if os.environ.get("CI", "").lower() == "true":
        pytest.fail(f"{why}: in CI they have to be there")
    pytest.skip(why)
