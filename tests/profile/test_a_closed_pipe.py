"""Whoever reads what a command prints may stop: the command ends without a word, with the status that shells give."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from instar.executor.profiling import architectures, subjects
from instar.weights.store import Store


@pytest.mark.system
@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["inspect", "{package}"], ["plan", "{package}", "{package}"]])
def test_a_command_whose_reader_has_gone_ends_quietly(
    words: list[str], unbuffered: str, tmp_path: Path, store: Store
) -> None:
    folder = subjects.make("one", architectures.plain(2, 20), tmp_path / "one", store, seed=1).folder
    (folder / "model.safetensors").touch()
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "instar", *(word.format(package=folder) for word in words)],
            stdout=writing,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONUNBUFFERED": unbuffered, "INSTAR_PROFILES": str(tmp_path)},
            timeout=60,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (141, b"")


@pytest.mark.system
def test_a_command_that_is_read_to_its_end_says_all(tmp_path: Path, store: Store) -> None:
    folder = subjects.make("one", architectures.plain(2, 20), tmp_path / "one", store, seed=1).folder
    ended = subprocess.run(
        [sys.executable, "-m", "instar", "plan", str(folder), str(folder)],
        capture_output=True,
        env={**os.environ, "INSTAR_PROFILES": str(tmp_path)},
        timeout=60,
    )
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert b"proof" in ended.stdout
