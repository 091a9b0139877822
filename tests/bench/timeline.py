"""What happened when during a load, and how much of the time each stage of the pipeline was busy. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Interval:
    """Something that took a while: what, on which chunk or stage, from and to in ns of one clock."""

    what: str
    number: int
    begin_ns: int
    end_ns: int


def busy_ns(intervals: Iterable[Interval]) -> int:
    """The time in which at least one of them was under way."""
    total, reached = 0, 0
    for interval in sorted(intervals, key=lambda one: one.begin_ns):
        begin = max(interval.begin_ns, reached)
        if interval.end_ns > begin:
            total += interval.end_ns - begin
            reached = interval.end_ns
    return total


def lanes(intervals: Iterable[Interval]) -> list[list[Interval]]:
    """As few rows as it takes so that none of a row overlaps another of it, in order of time."""
    rows: list[list[Interval]] = []
    for interval in sorted(intervals, key=lambda one: (one.begin_ns, one.end_ns)):
        free = next((row for row in rows if row[-1].end_ns <= interval.begin_ns), None)
        if free is None:
            rows.append([interval])
        else:
            free.append(interval)
    return rows


def bottleneck(busy_ms: Mapping[str, float], makespan_ms: float) -> tuple[str, float]:
    """The stage that was busy longest, and its share of the makespan: 1 where the pipeline never let it idle."""
    name = max(busy_ms, key=lambda stage: busy_ms[stage])
    return name, busy_ms[name] / makespan_ms
