"""How the time of a load is divided among the stages of the pipeline."""

from __future__ import annotations

import pytest

from tests.bench.timeline import Interval, bottleneck, busy_ns, lanes


def of(*spans: tuple[int, int]) -> list[Interval]:
    return [Interval("read", number, *span) for number, span in enumerate(spans)]


@pytest.mark.parametrize(
    ("spans", "busy"),
    [([], 0), ([(0, 10), (20, 30)], 20), ([(0, 10), (5, 15)], 15), ([(0, 30), (5, 10)], 30), ([(5, 9), (0, 5)], 9)],
)
def test_what_overlaps_counts_once(spans: list[tuple[int, int]], busy: int) -> None:
    assert busy_ns(of(*spans)) == busy


def test_what_overlaps_gets_a_lane_of_its_own() -> None:
    assert [[one.number for one in lane] for lane in lanes(of((0, 10), (5, 15), (10, 20), (16, 20)))] == [
        [0, 2],
        [1, 3],
    ]


def test_the_busiest_stage_is_the_bottleneck() -> None:
    assert bottleneck({"read": 80.0, "run": 90.0}, 100.0) == ("run", 0.9)
