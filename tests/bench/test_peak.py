"""The peak of a block is what it held at its highest, freed again or not."""

from __future__ import annotations

import mmap
from pathlib import Path

from tests.bench import peak

SIZE = 64 << 20
SLACK = 4 << 20


def test_memory_that_was_freed_again_counts() -> None:
    with peak.measured() as found:
        held = bytearray(b"1") * SIZE
        del held
    assert abs(found.nbytes - SIZE) < SLACK


def test_an_earlier_peak_does_not_count() -> None:
    held = bytearray(b"1") * SIZE
    del held
    with peak.measured() as found:
        pass
    assert found.nbytes < SLACK


def test_pages_of_a_file_count_where_they_are_mapped(tmp_path: Path) -> None:
    path = tmp_path / "w"
    path.write_bytes(b"1" * SIZE)
    with (
        path.open("rb") as file,
        peak.measured() as found,
        mmap.mmap(file.fileno(), SIZE, mmap.MAP_SHARED, mmap.PROT_READ) as mapping,
    ):
        assert sum(mapping[at] for at in range(0, SIZE, mmap.PAGESIZE)) > 0
    assert abs(found.nbytes - SIZE) < SLACK
