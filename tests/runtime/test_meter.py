"""The page on which the executor counts what loading costs, and the proxy reads it."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import pytest

from instar.executor import meter
from instar.executor.meter import NOTHING, Counter, Meter, Reading


@pytest.fixture
def page() -> Iterator[int]:
    descriptor = meter.create()
    yield descriptor
    os.close(descriptor)


def test_what_is_counted_is_read(page: int) -> None:
    reader = Meter(page)
    assert reader.read() == NOTHING
    Counter(page).add(Reading(1, 2, 3, 4))
    Counter(page).add(Reading(fetched_bytes=10**15))  # of an executor that took another one's place
    assert reader.read() == Reading(1 + 10**15, 2, 3, 4)


def test_a_count_never_shrinks(page: int) -> None:
    counter, reader = Counter(page), Meter(page)
    counter.add(Reading(5, 5, 5, 5))
    counter.add(Reading(-3, 1, 0, -9))
    assert reader.read() == Reading(5, 6, 5, 5)


def test_nobody_can_take_the_page_from_under_its_reader(page: int) -> None:
    for size in (0, 2 * mmap.PAGESIZE):
        with pytest.raises(PermissionError):
            os.ftruncate(page, size)
