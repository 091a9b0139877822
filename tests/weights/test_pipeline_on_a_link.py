"""What scheduling costs whoever waits, on a simulated link that its moving reads share equally. No clock, no threads.

A request alternates between waiting for its next chunks and computing on them, as a gated run does.
"""

from __future__ import annotations

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar.weights.pipeline import Ask, Pipeline, Read, TransferId, Urgency

WAITING, OTHER = TransferId("waiting"), TransferId("other")
SIZE = 1.0  # of a chunk, in seconds of the whole link


@dataclass
class Run:
    """A request that computes `compute_s` after each `stride` chunks."""

    chunks: int
    stride: int
    compute_s: float


def latency_s(run: Run, readers: int, other: Urgency | None, head_start: int = 0) -> float:
    """When the request has its answer, in seconds of the link; `head_start` chunks of the other come before it."""
    pipeline = Pipeline(readers=readers)
    if other is not None:
        pipeline.begin(OTHER, bytes(10 * run.chunks + head_start), urgency=other)
    left: dict[Read, float] = {}
    now, others_done = 0.0, 0

    def fill() -> None:
        while (read := pipeline.next()) is not None:
            left[read] = SIZE

    def until(moment: float) -> None:
        """Let the link work to the next end of a read, at most to `moment`."""
        nonlocal now, others_done
        fill()
        moving = [read for read in left if pipeline.may_go_on(read)]
        if not moving:
            now = moment
            return
        share = 1 / len(moving)
        step = min(moment - now, min(left[read] for read in moving) / share)
        now += step
        for read in moving:
            left[read] -= step * share
            if left[read] <= 1e-9:
                del left[read]
                pipeline.done(read)
                others_done += read.transfer == OTHER

    while others_done < head_start:
        until(float("inf"))
    started = now
    pipeline.begin(WAITING, bytes(run.chunks), urgency=Urgency.REQUEST)
    for first in range(0, run.chunks, run.stride):
        ask: Ask = pipeline.ask(WAITING, first, min(first + run.stride, run.chunks) - 1, Urgency.REQUEST)
        while ask.left:
            until(float("inf"))
        computed = now + run.compute_s
        while now < computed:
            until(computed)
    return now - started


@pytest.mark.parametrize("other", Urgency)
@settings(max_examples=50, deadline=None)
@given(
    readers=st.integers(1, 4),
    chunks=st.integers(60, 150),
    stride=st.integers(1, 8),
    compute_s=st.sampled_from([0.0, 0.3, 1.0, 4.0]),
    head_start=st.integers(0, 3),
)
def test_a_waiting_request_loses_at_most_a_tenth_to_another_load(
    other: Urgency, readers: int, chunks: int, stride: int, compute_s: float, head_start: int
) -> None:
    """Also to another request's load that nobody waits for yet.

    Of 60 chunks or more: a chunk that just misses a round of reads waits for the next, which is up to 4 of them.
    """
    run = Run(chunks, stride, compute_s)
    alone = latency_s(run, readers, None)
    beside = latency_s(run, readers, other, head_start)
    assert beside <= 1.10 * alone, f"{beside / alone:.3f} times as long"


def test_two_requests_that_both_wait_share_the_link() -> None:
    """So the measure above can fail."""
    pipeline = Pipeline(readers=2)
    for name in (WAITING, OTHER):
        pipeline.begin(name, bytes(50), urgency=Urgency.REQUEST)
        pipeline.ask(name, 0, 49, Urgency.REQUEST)
    reads = 0
    while not pipeline.is_whole(WAITING):
        read = pipeline.next()
        assert read is not None
        pipeline.done(read)
        reads += 1
    assert reads in (99, 100)
