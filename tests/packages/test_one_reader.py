"""`model.json` is read in one place, which nothing that a stranger put there can hang."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from instar import package
from instar.errors import PackageError
from instar.executor.prepare import prepare

Read = pytest.mark.parametrize(
    "read", [lambda folder: package.read(folder), lambda folder: prepare(folder / package.MODEL_FILE)]
)


@Read
def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path, read: object) -> None:
    os.mkfifo(tmp_path / "model.json")
    with pytest.raises(PackageError, match="is no plain file"):
        read(tmp_path)  # type: ignore[operator]


@Read
def test_a_folder_is_refused(tmp_path: Path, read: object) -> None:
    (tmp_path / "model.json").mkdir()
    with pytest.raises(PackageError, match=r"is no plain file|cannot be read"):
        read(tmp_path)  # type: ignore[operator]


@Read
def test_what_is_not_there_is_named(tmp_path: Path, read: object) -> None:
    with pytest.raises(PackageError, match=r"model\.json cannot be read \(No such file"):
        read(tmp_path)  # type: ignore[operator]


@Read
def test_a_file_beyond_the_limit_is_not_read(tmp_path: Path, read: object) -> None:
    with (tmp_path / "model.json").open("wb") as file:
        file.truncate(package.MAX_JSON_BYTES + 1)
    with pytest.raises(PackageError, match="at most 67108864 are read"):
        read(tmp_path)  # type: ignore[operator]
