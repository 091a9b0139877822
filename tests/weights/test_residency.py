"""A file that is on the disk but not in memory is read ahead of who runs the model, and never changes an answer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from instar.errors import SourceError
from instar.weights import residency
from instar.weights.arrival import Arrival
from instar.weights.manifest import Weights
from instar.weights.residency import Reading
from instar.weights.store import Whole
from tests.bench.residency import drop
from tests.weights import in_memory

NBYTES = 5 * residency.PIECE_BYTES + 123


@pytest.fixture
def cold(tmp_path: Path) -> Path:
    """A file whose pages have been dropped."""
    path = tmp_path / "weights"
    path.write_bytes(os.urandom(NBYTES))
    try:
        drop(path)
    except RuntimeError as error:  # a file system in memory
        pytest.skip(str(error))
    return path


def test_a_dropped_file_is_told_from_one_in_memory(cold: Path) -> None:
    with cold.open("rb") as file:
        assert not residency.is_in_memory(file.fileno(), NBYTES)
        with in_memory.kept([cold]):
            assert residency.is_in_memory(file.fileno(), NBYTES)


def test_a_wait_ends_when_the_bytes_are_in_memory(cold: Path) -> None:
    size = residency.PIECE_BYTES
    weights = Weights(NBYTES, size, ("",) * (NBYTES // size + 1))
    for _ in range(3):  # the machine may drop them again at any moment
        descriptor = os.open(cold, os.O_RDONLY)
        arrival = Arrival(weights, Whole(descriptor), reading=Reading(descriptor, NBYTES))
        arrival.wait(0, 2)
        assert arrival.has(0, 2)
        arrival.wait_all()
        is_there = residency.is_in_memory(descriptor, NBYTES)
        assert arrival.is_whole
        assert arrival.present_bytes == NBYTES and arrival.fetched_bytes == 0
        arrival.close()
        if is_there:
            return
        drop(cold)
    pytest.fail("what was waited for is not in memory")


def test_who_waits_is_told_when_it_stops(tmp_path: Path) -> None:
    read, write = os.pipe()  # a file that cannot be read at a place
    reading = Reading(read, NBYTES)
    with pytest.raises(SourceError, match="disk"):
        reading.wait(1)
    assert reading.error is not None
    os.close(read)
    os.close(write)
