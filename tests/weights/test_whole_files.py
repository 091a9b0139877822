"""A file is seen whole, or not at all, whatever happens while it is written."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from instar import whole_files

KILLED = """
import os, signal, sys
from pathlib import Path
from instar import whole_files
with whole_files.written(Path(sys.argv[1])) as file:
    file.write(b"half")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A file that is there already."""
    path = tmp_path / "file"
    path.write_bytes(b"old")
    return path


def test_until_the_end_there_is_what_was_there_before(path: Path) -> None:
    with whole_files.written(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("umask", [0o022, 0o077, 0])
def test_its_mode_is_as_it_was_asked_for(path: Path, umask: int) -> None:
    usual = os.umask(umask)
    try:
        whole_files.write(path, b"new")
        assert stat.S_IMODE(path.stat().st_mode) == 0o644
        whole_files.write(path, b"newer", 0o444)
        assert stat.S_IMODE(path.stat().st_mode) == 0o444
    finally:
        os.umask(usual)
    assert path.read_bytes() == b"newer"


def test_a_block_that_fails_leaves_everything_as_it_was(path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), whole_files.written(path) as file:
        file.write(b"half")
        raise KeyboardInterrupt
    assert path.read_bytes() == b"old"
    assert os.listdir(path.parent) == [path.name]


def test_a_place_that_cannot_be_taken_leaves_nothing_beside(tmp_path: Path) -> None:
    (tmp_path / "file" / "within").mkdir(parents=True)
    with pytest.raises(OSError):
        whole_files.write(tmp_path / "file", b"new")
    assert os.listdir(tmp_path) == ["file"]


def test_without_a_folder_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        whole_files.write(tmp_path / "none" / "file", b"new")


@pytest.mark.system
def test_a_process_that_is_killed_leaves_what_was_there_before(path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(path)], timeout=60, check=False)
    assert done.returncode == -signal.SIGKILL
    assert path.read_bytes() == b"old"
