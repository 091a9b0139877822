"""A claim has one holder: it is renewed, given back, and taken over from a holder that has died or was too slow."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from sharing import WAIT_S, Cluster

from instar_controller.clients.memory_couch import Trouble
from instar_controller.clients.memory_documents import MemoryDocuments
from instar_controller.clients.notes import Notes
from instar_controller.engines.tenure import Candidate, Tenure
from instar_controller.errors import ConflictError

TERM_S = 0.6
Obtain = Callable[..., Tenure | None]


class Watch:
    """The time, but for most of that in which nobody has looked: so nobody loses a claim because the machine stood
    still. All who want one look at the same watch."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._looked_s = time.monotonic()
        self._now_s = 0.0

    def __call__(self) -> float:
        with self._lock:
            looked_s, self._looked_s = self._looked_s, time.monotonic()
            self._now_s += min(self._looked_s - looked_s, TERM_S / 6)
            return self._now_s


@pytest.fixture
def documents() -> MemoryDocuments:
    return MemoryDocuments()


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def obtain(documents: MemoryDocuments, watch: Watch) -> Iterator[Obtain]:
    """Waits for the claim in the name of an owner; what was obtained is given back in the end."""
    held: list[Tenure] = []
    stopped = threading.Event()

    def wait(owner: str, *, term_s: float = TERM_S) -> Tenure | None:
        tenure = Candidate(Notes(documents), "work", owner=owner, term_s=term_s, now_s=watch).obtain(stopped)
        if tenure is not None:
            held.append(tenure)
        return tenure

    yield wait
    stopped.set()
    for tenure in held:
        tenure.give_back()


def test_of_many_who_want_it_at_once_one_gets_it(cluster: Cluster) -> None:
    """Each holds it for a moment; never two at once."""
    held: list[Tenure] = []
    doubly: list[Tenure] = []
    lock = threading.Lock()

    def work(number: int) -> None:
        candidate = Candidate(Notes(cluster.documents()), "work", owner=str(number), term_s=TERM_S)
        tenure = candidate.obtain(threading.Event())
        assert tenure is not None
        with lock:
            doubly.extend(other for other in held if other.is_held)
            held.append(tenure)
        time.sleep(0.02)
        tenure.give_back()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
    assert len(held) == 4
    assert not doubly


def test_it_is_renewed_as_long_as_its_holder_lives(obtain: Obtain, documents: MemoryDocuments) -> None:
    tenure = obtain("a")
    assert tenure is not None
    calls = documents.database.faults.calls
    documents.database.faults.wait_for_calls(calls + 12)  # that many renewals take several terms
    assert tenure.is_held


def test_what_is_given_back_is_taken_at_once(obtain: Obtain) -> None:
    first = obtain("a", term_s=1e6)
    assert first is not None
    first.give_back()
    assert not first.is_held
    second = obtain("b", term_s=1e6)  # would wait for days
    assert second is not None
    assert second.is_held


def test_a_holder_that_cannot_renew_it_knows_so_before_another_takes_it(
    obtain: Obtain, documents: MemoryDocuments
) -> None:
    first = obtain("a")
    assert first is not None
    faults = documents.database.faults
    faults.go_down()
    with ThreadPoolExecutor(1) as pool:
        calls = faults.calls
        waiting = pool.submit(obtain, "b")
        faults.wait_for_calls(calls + 8)
        assert first.wait(WAIT_S)
        assert not first.is_held
        faults.come_back()
        second = waiting.result(WAIT_S)
    assert second is not None
    assert second.is_held and not first.is_held


def test_an_answer_that_was_lost_loses_no_claim(obtain: Obtain, documents: MemoryDocuments) -> None:
    tenure = obtain("a")
    assert tenure is not None
    faults = documents.database.faults
    faults.on_next(Trouble.LOST)  # the renewal is written, and nobody hears of it
    faults.wait_for_calls(faults.calls + 6)
    assert tenure.is_held


def test_a_holder_that_was_replaced_learns_of_it(obtain: Obtain, documents: MemoryDocuments) -> None:
    tenure = obtain("a")
    assert tenure is not None
    notes = Notes(documents)
    while True:  # between two of its renewals
        note = notes.read("claim:work")
        assert note is not None
        try:
            notes.write("claim:work", {**note.body, "holder": "another"}, replaces=note.revision)
            break
        except ConflictError:
            continue
    assert tenure.wait(WAIT_S)
    assert not tenure.is_held


def test_waiting_ends_when_it_is_told_to(documents: MemoryDocuments, obtain: Obtain) -> None:
    assert obtain("a") is not None
    stopped = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(Candidate(Notes(documents), "work", owner="b", term_s=TERM_S).obtain, stopped)
        stopped.set()
        assert waiting.result(WAIT_S) is None


def test_a_damaged_claim_is_nobodys(obtain: Obtain, documents: MemoryDocuments) -> None:
    Notes(documents).write("claim:work", {"holder": 7, "term_s": "long"}, replaces=None)
    tenure = obtain("a")
    assert tenure is not None
    assert tenure.is_held
