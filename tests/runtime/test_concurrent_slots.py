"""Who gets which channel to a worker, and who is told that there are none any more."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from instar.action.channel import Channel
from instar.action.frames import SLOTS
from instar.proxy import slots
from instar.proxy.slots import Slots


@pytest.fixture
def ends() -> Iterator[list[socket.socket]]:
    """The proxy's ends of three channels."""
    pairs = [socket.socketpair() for _ in range(3)]
    yield [ours for ours, _ in pairs]
    for pair in pairs:
        for end in pair:
            end.close()


def channels(ends: list[socket.socket]) -> list[Channel]:
    return [Channel(end, limit_bytes=1) for end in ends]


@pytest.mark.parametrize("value, runs", [("true", SLOTS), ("false", 1), ("TRUE", 1), ("1", 1), ("", 1), (None, 1)])
def test_only_true_allows_concurrency(value: str | None, runs: int) -> None:
    assert slots.allowed({} if value is None else {"__OW_ALLOW_CONCURRENT": value}) == runs


def test_the_first_free_channel_is_taken(ends: list[socket.socket]) -> None:
    first, second, third = channels(ends)
    some = Slots([first, second, third])
    for _ in range(3):
        with some.one() as alone:
            assert alone is first
    early, late = contextlib.ExitStack(), contextlib.ExitStack()
    assert [early.enter_context(some.one()), late.enter_context(some.one())] == [first, second]
    early.close()
    with some.one() as one, some.one() as other:
        assert (one, other) == (first, third)
    late.close()


def test_a_run_waits_until_a_channel_is_free(ends: list[socket.socket]) -> None:
    one = Slots(channels(ends[:1]))
    order: list[str] = []

    def wait() -> None:
        with one.one():
            order.append("second")

    with one.one():
        waiting = threading.Thread(target=wait)
        waiting.start()
        waiting.join(0.1)  # it must not get further in any time
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]


def test_who_waits_when_the_worker_goes_is_told_so(ends: list[socket.socket]) -> None:
    one = Slots(channels(ends[:1]))

    def take() -> bool:
        with one.one() as channel:
            return channel is None

    with ThreadPoolExecutor(4) as pool, one.one():
        waiting = [pool.submit(take) for _ in range(4)]
        one.close()
        assert [run.result(timeout=60) for run in waiting] == [True] * 4
    assert take()


def test_a_channel_in_use_is_closed_when_its_run_ends(ends: list[socket.socket]) -> None:
    some = Slots(channels(ends))
    with some.one():
        some.close()
        assert [end.fileno() == -1 for end in ends] == [False, True, True]
    assert ends[0].fileno() == -1


def test_a_channel_closes_its_descriptor_of_the_peer(ends: list[socket.socket]) -> None:
    peer = os.pidfd_open(os.getpid())
    Channel(ends[0], limit_bytes=1, peer_pidfd=peer).close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(peer)


def test_who_claims_all_gets_them_only_while_no_run_has_one(ends: list[socket.socket]) -> None:
    some = Slots(channels(ends))
    with some.one():
        assert not some.claim()
    assert some.claim() and not some.claim()


def test_runs_wait_while_all_are_claimed_and_go_on_when_they_are_released(ends: list[socket.socket]) -> None:
    some = Slots(channels(ends))
    assert some.claim()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(gets_one, some) for _ in range(2)]
        assert not any(run.done() for run in waiting)
        some.release()
        assert [run.result(timeout=60) for run in waiting] == [True, True]
    assert some.claim()


def test_runs_that_wait_while_all_are_claimed_are_told_when_they_are_closed(ends: list[socket.socket]) -> None:
    some = Slots(channels(ends))
    assert some.claim()
    with ThreadPoolExecutor(2) as pool:
        waiting = [pool.submit(gets_one, some) for _ in range(2)]
        some.close()
        assert [run.result(timeout=60) for run in waiting] == [False, False]
    assert [end.fileno() for end in ends] == [-1, -1, -1]
    assert not some.claim()


def gets_one(some: Slots) -> bool:
    with some.one() as channel:
        return channel is not None
