"""Who waits goes first: the order between transfers, and what becomes of reads that are in the way."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instar.weights.pipeline import LINGER, TURNS, Pipeline, Read, TransferId, Urgency

A, B, C = TransferId("a"), TransferId("b"), TransferId("c")


def begun(pipeline: Pipeline, name: TransferId, urgency: Urgency, chunks: int = 200) -> None:
    pipeline.begin(name, bytes(chunks), urgency=urgency)


def one(pipeline: Pipeline) -> Read:
    read = pipeline.next()
    assert read is not None
    return read


def names(pipeline: Pipeline, reads: int) -> str:
    """Whose the next reads are, each ending before the next one starts."""
    found = ""
    for _ in range(reads):
        read = one(pipeline)
        found += read.transfer
        pipeline.done(read)
    return found


def test_a_request_goes_before_a_transformation_and_that_before_a_prefetch() -> None:
    pipeline = Pipeline(readers=1)
    begun(pipeline, A, Urgency.PREFETCH)
    begun(pipeline, B, Urgency.TRANSFORMATION, chunks=2)
    begun(pipeline, C, Urgency.REQUEST, chunks=2)
    assert names(pipeline, 6) == "ccbbaa"


def test_a_waiting_request_goes_before_one_that_does_not_wait() -> None:
    pipeline = Pipeline(readers=1)
    begun(pipeline, A, Urgency.REQUEST)
    begun(pipeline, B, Urgency.REQUEST)
    pipeline.ask(B, 0, 199, Urgency.REQUEST)
    assert names(pipeline, 4) == "bbbb"


def test_the_chunk_that_is_waited_for_comes_next_then_the_first_missing() -> None:
    pipeline = Pipeline(readers=1)
    begun(pipeline, A, Urgency.REQUEST)
    pipeline.done(one(pipeline))
    pipeline.ask(A, 7, 8, Urgency.REQUEST)
    chunks = []
    for _ in range(4):
        read = one(pipeline)
        chunks.append(read.chunk)
        pipeline.done(read)
    assert chunks == [7, 8, 1, 2]


def test_transfers_of_one_urgency_take_turns() -> None:
    pipeline = Pipeline(readers=1)
    for name in (A, B, C):
        begun(pipeline, name, Urgency.PREFETCH)
    assert names(pipeline, 9) == "abcabcabc"


def test_two_waiting_requests_both_proceed() -> None:
    pipeline = Pipeline(readers=2)
    for name in (A, B):
        begun(pipeline, name, Urgency.REQUEST)
        pipeline.ask(name, 0, 199, Urgency.REQUEST)
    first, second = one(pipeline), one(pipeline)
    assert {first.transfer, second.transfer} == {A, B}
    assert pipeline.may_go_on(first) and pipeline.may_go_on(second)


def test_reads_in_the_way_pause_and_leave_their_readers() -> None:
    pipeline = Pipeline(readers=2)
    begun(pipeline, A, Urgency.PREFETCH)
    begun(pipeline, B, Urgency.PREFETCH)
    paused = [one(pipeline), one(pipeline)]
    assert pipeline.next() is None
    ask = pipeline.ask(C_begun(pipeline), 0, 0, Urgency.REQUEST)
    assert not any(pipeline.may_go_on(read) for read in paused)
    assert one(pipeline).transfer == C
    pipeline.withdraw(ask)
    assert all(pipeline.may_go_on(read) for read in paused)


def C_begun(pipeline: Pipeline) -> TransferId:
    begun(pipeline, C, Urgency.REQUEST)
    return C


def test_nobody_pauses_while_nobody_waits() -> None:
    pipeline = Pipeline(readers=2)
    begun(pipeline, A, Urgency.PREFETCH)
    read = one(pipeline)
    begun(pipeline, B, Urgency.REQUEST)
    assert one(pipeline).transfer == B
    assert pipeline.may_go_on(read)


def test_a_request_that_computes_keeps_the_link_for_a_while() -> None:
    pipeline = Pipeline(readers=2)
    begun(pipeline, A, Urgency.PREFETCH)
    paused = one(pipeline)
    begun(pipeline, B, Urgency.PREFETCH)
    pipeline.ask(B, 0, 0, Urgency.REQUEST)
    for _ in range(1 + LINGER):
        assert not pipeline.may_go_on(paused)
        read = one(pipeline)
        assert read.transfer == B
        pipeline.done(read)
    assert pipeline.may_go_on(paused)


def test_who_has_waited_goes_before_who_has_not_begun_to() -> None:
    pipeline = Pipeline(readers=1)
    begun(pipeline, A, Urgency.REQUEST)
    begun(pipeline, B, Urgency.REQUEST)
    pipeline.ask(B, 0, 0, Urgency.REQUEST)
    assert names(pipeline, 4 + LINGER) == "b" * (4 + LINGER)


def test_who_waits_in_another_process_cuts_ours_down_and_they_still_get_turns() -> None:
    pipeline = Pipeline(readers=2)
    begun(pipeline, A, Urgency.PREFETCH)
    paused = one(pipeline)
    for _ in range(TURNS - 1):
        pipeline.busy_elsewhere(Urgency.REQUEST)
        assert pipeline.next() is None and not pipeline.may_go_on(paused)
    pipeline.busy_elsewhere(Urgency.REQUEST)
    assert pipeline.may_go_on(paused)
    pipeline.busy_elsewhere(None)
    assert one(pipeline).transfer == A


def test_a_paused_read_that_gets_a_turn_goes_on_when_a_reader_is_free_for_it() -> None:
    pipeline = Pipeline(readers=2)
    begun(pipeline, A, Urgency.PREFETCH)
    paused = one(pipeline)
    begun(pipeline, B, Urgency.REQUEST)
    pipeline.ask(B, 0, 199, Urgency.REQUEST)
    moving = [one(pipeline)]
    for _ in range(TURNS - 1):  # the last of them makes it A's turn
        moving.append(one(pipeline))
        assert pipeline.next() is None and not pipeline.may_go_on(paused), "two move"
        pipeline.done(moving.pop(0))
    assert pipeline.next() is None and pipeline.may_go_on(paused), "B's read and A's"
    pipeline.done(paused)
    assert one(pipeline).transfer == B


def test_a_stalled_source_holds_nobody_back() -> None:
    pipeline = Pipeline(readers=1)
    begun(pipeline, A, Urgency.REQUEST)
    pipeline.ask(A, 0, 199, Urgency.REQUEST)
    stalled = one(pipeline)
    begun(pipeline, B, Urgency.PREFETCH)
    assert pipeline.next() is None
    pipeline.stalled(stalled)
    other = one(pipeline)
    assert other.transfer == B and pipeline.may_go_on(other)
    pipeline.resumed(stalled)
    assert not pipeline.may_go_on(other)


def test_a_transfer_is_begun_once() -> None:
    pipeline = Pipeline(readers=1)
    begun(pipeline, A, Urgency.REQUEST)
    with pytest.raises(ValueError, match="upgrade it"):
        begun(pipeline, A, Urgency.REQUEST)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.lists(st.integers(0, 199), min_size=1, max_size=8))
def test_what_is_asked_for_comes_within_a_turn_for_each_who_waits(
    readers: int, waiting: int, chunks: list[int]
) -> None:
    """Of any `waiting + 1` reads one is the chunk asked for: one for each who waits as urgently, one for the rest."""
    pipeline = Pipeline(readers=readers)
    begun(pipeline, A, Urgency.PREFETCH)
    others = [TransferId(f"w{n}") for n in range(waiting)]
    for name in others:
        begun(pipeline, name, Urgency.REQUEST)
        pipeline.ask(name, 100, 199, Urgency.REQUEST)
    name, flying, arrived = others[-1], list[Read](), set[int]()
    for chunk in chunks:
        ask = pipeline.ask(name, chunk, chunk, Urgency.REQUEST)
        for _ in range(waiting + 1 if chunk not in arrived else 0):
            while (read := pipeline.next()) is None:
                pipeline.done(flying.pop(0))
            flying.append(read)
            arrived |= {read.chunk} if read.transfer == name else set()
        pipeline.withdraw(ask)


@settings(deadline=None)
@given(st.integers(1, 4), st.integers(TURNS, 400))
def test_the_less_urgent_get_one_read_in_so_many(readers: int, reads: int) -> None:
    """While somebody waits for ever, of `TURNS + 1` reads exactly one is for the prefetches, each in its turn."""
    pipeline = Pipeline(readers=readers)
    begun(pipeline, A, Urgency.REQUEST, chunks=1000)
    pipeline.ask(A, 0, 999, Urgency.REQUEST)
    for name in (B, C):
        begun(pipeline, name, Urgency.PREFETCH)
    found = names(pipeline, reads)
    assert found.replace("a", "") == ("bc" * 20)[: reads // (TURNS + 1)]
