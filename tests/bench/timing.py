"""How every loading benchmark takes its times: nothing of earlier rounds falls into what is timed."""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.bench import figures

T = TypeVar("T")
WARM_PASSES = 3  # timed in a row; their median counts
WAIT_S = 120  # nothing that a benchmark waits for takes as long


def ms(start: float, end: float) -> float:
    """Between two readings of `time.perf_counter`."""
    return (end - start) * 1000


def warm(run: Callable[[], T]) -> tuple[T, float]:
    """The answer of a warm pass, and the median time of `WARM_PASSES` of them in ms."""
    answer = run()
    times = []
    for _ in range(WARM_PASSES):
        start = time.perf_counter()
        answer = run()
        times.append(ms(start, time.perf_counter()))
    return answer, figures.quartiles(times)[1]


@contextmanager
def no_collection() -> Iterator[None]:
    """What earlier rounds left is collected first, and no collection falls into what is timed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@contextmanager
def libraries_settled() -> Iterator[None]:
    """The libraries' own objects need not be looked at again before each measurement."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


@contextmanager
def folder() -> Iterator[Path]:
    """A folder on a disk that is gone afterwards."""
    found = Path(tempfile.mkdtemp(prefix="instar-bench-"))
    try:
        yield found
    finally:
        shutil.rmtree(found, ignore_errors=True)


def settle(place: Path) -> None:
    """Have the disk take everything that was written below a folder, so that it does not do so later."""
    for path in place.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
