"""Pages of a file are dropped, and it is seen that they are."""

from __future__ import annotations

import mmap
from pathlib import Path

import pytest

from tests.bench import residency

SIZE = 1 << 20


def test_what_is_dropped_is_gone_and_what_is_filled_is_there(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(bytes(SIZE))
    residency.fill(path)
    assert residency.resident_bytes(path) == SIZE
    residency.drop(path)
    assert residency.resident_bytes(path) == 0
    residency.fill(path)
    assert residency.resident_bytes(path) == SIZE


def test_pages_that_somebody_has_mapped_are_not_called_dropped(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(bytes(SIZE))
    with path.open("r+b") as file, mmap.mmap(file.fileno(), SIZE) as mapping:
        mapping[:] = bytes(SIZE)
        with pytest.raises(RuntimeError, match="still have it mapped"):
            residency.drop(path)
