"""The keeper takes records at once, and whatever the database does they are stored, once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
from activations import activation, id_of
from shelves import DelicateShelf

from instar_controller.clients.clock import SystemClock
from instar_controller.clients.memory_couch import Trouble
from instar_controller.clients.spool import SET_ASIDE, Spool
from instar_controller.engines.keeper import Keeper, KeeperCounts, KeeperLimits
from instar_controller.errors import StoreError
from instar_controller.policies.keeping import Answer, Patience, Record

QUICK = Patience(interval_s=0.001, first_wait_s=0.001, longest_wait_s=0.01)
WAIT_S = 60.0  # for anything that is sure to happen


class FailingSpool(Spool):
    """A spool on a disk that can be full."""

    is_disk_full = False

    def append(self, record: Record) -> None:
        if self.is_disk_full:
            raise StoreError("No space left on device")
        super().append(record)

    def set_aside(self, record: Record, reason: str) -> None:
        if self.is_disk_full:
            raise StoreError("No space left on device")
        super().set_aside(record, reason)


@pytest.fixture
def shelf() -> DelicateShelf:
    return DelicateShelf()


@pytest.fixture
def spool(tmp_path: Path) -> FailingSpool:
    return FailingSpool(tmp_path)


@pytest.fixture
def keeper(shelf: DelicateShelf, spool: FailingSpool) -> Iterator[Keeper]:
    made = Keeper(shelf, spool, SystemClock(), patience=QUICK)
    yield made
    shelf.records.database.faults.come_back()
    made.close(deadline_s=WAIT_S)


def stored(shelf: DelicateShelf) -> set[str]:
    return set(shelf.records.database.documents())


def until(condition: Callable[[], bool], keeper: Keeper) -> KeeperCounts:
    """Wait for what the keeper's own thread brings about: it tells of every change of its numbers."""
    with keeper._changed:
        assert keeper._changed.wait_for(condition, WAIT_S), keeper
    return keeper.counts()


def drain(keeper: Keeper, *, turns: int = 200) -> None:
    """Do what the keeper's thread does, without its waits."""
    for _ in range(turns):
        if not keeper.write_batch():
            return
    raise AssertionError(f"{keeper} is not done after {turns} batches")


def test_records_are_taken_at_once_and_stored_soon(keeper: Keeper, shelf: DelicateShelf) -> None:
    keeper.start()
    for number in range(100):
        keeper.put_activation(activation(number))
    counts = until(lambda: keeper.counts().kept == 100, keeper)
    assert stored(shelf) == {id_of(number) for number in range(100)}
    assert (counts.taken, counts.set_aside, counts.unspooled) == (100, 0, 0)


def test_what_comes_while_a_batch_is_written_goes_together(keeper: Keeper, shelf: DelicateShelf) -> None:
    faults = shelf.records.database.faults
    with faults.held():
        keeper.start()
        keeper.put_activation(activation(0))
        faults.wait_for_calls(1)
        for number in range(1, 60):
            keeper.put_activation(activation(number))  # nobody waits for the database, which answers after this
    until(lambda: keeper.counts().kept == 60, keeper)
    assert [len(batch) for batch in shelf.batches] == [1, 59]


def test_a_database_that_is_down_loses_nothing(keeper: Keeper, shelf: DelicateShelf) -> None:
    faults = shelf.records.database.faults
    faults.go_down()
    keeper.start()
    for number in range(50):
        keeper.put_activation(activation(number))
    counts = until(lambda: keeper.counts().retried >= 5, keeper)
    assert counts.kept == 0 and not keeper.is_full()
    faults.come_back()
    until(lambda: keeper.counts().kept == 50, keeper)
    assert stored(shelf) == {id_of(number) for number in range(50)}


def test_a_batch_whose_answer_was_lost_is_written_again_and_stays_single(
    keeper: Keeper, shelf: DelicateShelf
) -> None:
    shelf.records.database.faults.on_next(Trouble.LOST, Trouble.REFUSED, Trouble.LOST)
    for number in range(10):
        keeper.put_activation(activation(number))
    drain(keeper)
    documents = shelf.records.database.documents()
    assert set(documents) == {id_of(number) for number in range(10)}
    assert all(str(document["_rev"]).startswith("1-") for document in documents.values())
    assert keeper.counts().kept == 10


@pytest.mark.parametrize("kind", ["refuses", "unsettled", "rejects", "stumbles"])
def test_a_poisonous_record_is_set_aside_and_holds_nothing_up(
    keeper: Keeper, shelf: DelicateShelf, tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    poison = id_of(13)
    getattr(shelf, kind).add(poison)
    for number in range(100):
        keeper.put_activation(activation(number))
    for more in range(100, 120):
        for _ in range(40):
            keeper.write_batch()
        assert id_of(more - 1) in stored(shelf)
        keeper.put_activation(activation(more))
    drain(keeper)
    assert stored(shelf) == {id_of(number) for number in range(120)} - {poison}
    assert keeper.counts().set_aside == 1
    assert poison in (tmp_path / SET_ASIDE).read_text(encoding="utf-8")
    assert [r.levelno for r in caplog.records if poison in r.getMessage()] == [logging.ERROR]


def test_a_poisonous_record_alone_waits_until_another_shows_that_it_is_to_blame(
    keeper: Keeper, shelf: DelicateShelf
) -> None:
    shelf.rejects.add(id_of(1))
    keeper.put_activation(activation(1))
    for _ in range(30):
        assert keeper.write_batch()
    assert keeper.counts().set_aside == 0
    keeper.put_activation(activation(2))
    drain(keeper)
    assert (keeper.counts().set_aside, stored(shelf)) == (1, {id_of(2)})


def test_what_is_left_at_the_end_is_written_by_the_next_process(
    keeper: Keeper, shelf: DelicateShelf, tmp_path: Path
) -> None:
    shelf.records.database.faults.go_down()
    keeper.start()
    for number in range(30):
        keeper.put_activation(activation(number))
    keeper.close(deadline_s=0.2)  # it does not wait until the database is back
    keeper._thread.join(WAIT_S)  # it may have been about to ask once more
    shelf.records.database.faults.come_back()
    assert stored(shelf) == set()
    following = Keeper(shelf, Spool(tmp_path), SystemClock(), patience=QUICK)
    following.start()
    following.close(deadline_s=WAIT_S)
    assert stored(shelf) == {id_of(number) for number in range(30)}
    assert [path.name for path in tmp_path.iterdir()] == []


def test_the_end_does_not_wait_for_a_database_that_hangs(
    keeper: Keeper, shelf: DelicateShelf, tmp_path: Path
) -> None:
    faults = shelf.records.database.faults
    with faults.held():
        keeper.start()
        keeper.put_activation(activation(1))
        faults.wait_for_calls(1)
        keeper.close(deadline_s=0.1)  # or it would wait for ever
    following = Keeper(shelf, Spool(tmp_path), SystemClock(), patience=QUICK)
    drain(following)
    following.close(deadline_s=1)
    assert stored(shelf) == {id_of(1)}


def test_at_the_end_everything_is_written_if_there_is_time(keeper: Keeper, shelf: DelicateShelf) -> None:
    shelf.records.database.faults.on_next(*[Trouble.REFUSED] * 5)
    keeper.start()
    for number in range(30):
        keeper.put_activation(activation(number))
    keeper.close(deadline_s=WAIT_S)
    assert stored(shelf) == {id_of(number) for number in range(30)}
    with pytest.raises(StoreError, match="too late"):
        keeper.put_activation(activation(31))


def test_there_is_no_more_room_when_the_spool_is_full_and_there_is_when_it_was_written(
    shelf: DelicateShelf, tmp_path: Path
) -> None:
    limits = KeeperLimits(memory_records=10)
    keeper = Keeper(shelf, Spool(tmp_path, most_bytes=20_000), SystemClock(), patience=QUICK, limits=limits)
    number = 0
    while not keeper.is_full():
        keeper.put_activation(activation(number))
        number += 1
    assert number > 20
    for under_way in range(number, number + 5):  # work that had been begun before
        keeper.put_activation(activation(under_way))
    assert not keeper.wait_for_room(timeout_s=0.01)
    keeper.start()
    assert keeper.wait_for_room(timeout_s=WAIT_S)
    keeper.close(deadline_s=WAIT_S)
    assert stored(shelf) == {id_of(number) for number in range(number + 5)}


def test_while_the_disk_is_full_memory_has_to_do(keeper: Keeper, shelf: DelicateShelf, spool: FailingSpool) -> None:
    spool.is_disk_full = True
    for number in range(20):
        keeper.put_activation(activation(number))
    assert (keeper.counts().unspooled, keeper.counts().in_hand, keeper.counts().at_risk) == (20, 20, 20)
    drain(keeper)
    assert stored(shelf) == {id_of(number) for number in range(20)}
    assert keeper.counts().in_hand == 0


def test_beyond_its_bound_no_work_is_taken_on_and_what_is_under_way_loses_nothing(
    shelf: DelicateShelf, tmp_path: Path
) -> None:
    spool = FailingSpool(tmp_path)
    spool.is_disk_full = True
    keeper = Keeper(shelf, spool, SystemClock(), patience=QUICK, limits=KeeperLimits(memory_records=10))
    for number in range(25):
        assert keeper.is_full() == (number >= 10)
        keeper.put_activation(activation(number))
    assert keeper.counts().in_hand == 25
    drain(keeper)
    assert not keeper.is_full()
    assert stored(shelf) == {id_of(number) for number in range(25)}
    keeper.close(deadline_s=WAIT_S)


def test_the_bound_counts_bytes_too(shelf: DelicateShelf, tmp_path: Path) -> None:
    spool = FailingSpool(tmp_path)
    spool.is_disk_full = True
    keeper = Keeper(shelf, spool, SystemClock(), limits=KeeperLimits(memory_bytes=1))
    assert not keeper.is_full()
    keeper.put_activation(activation(1))
    assert keeper.is_full()
    keeper.close(deadline_s=0)


def test_a_record_that_cannot_be_set_aside_waits_for_room(
    shelf: DelicateShelf, spool: FailingSpool, keeper: Keeper, tmp_path: Path
) -> None:
    shelf.refuses.add(id_of(1))
    keeper.put_activation(activation(1))
    keeper.put_activation(activation(2))
    spool.is_disk_full = True
    for _ in range(5):
        assert keeper.write_batch()
    counts = keeper.counts()
    assert (counts.kept, counts.set_aside, counts.in_hand) == (1, 0, 1)
    assert counts.not_set_aside >= 2
    spool.is_disk_full = False
    drain(keeper)
    assert (keeper.counts().set_aside, keeper.counts().in_hand) == (1, 0)
    assert (tmp_path / SET_ASIDE).read_text(encoding="utf-8").count(id_of(1)) == 2  # once as its id, once in it


def test_records_go_to_the_disk_as_soon_as_that_has_room(
    shelf: DelicateShelf, spool: FailingSpool, tmp_path: Path
) -> None:
    keeper = Keeper(shelf, spool, SystemClock(), patience=Patience(batch_records=1))
    shelf.records.database.faults.go_down()
    spool.is_disk_full = True
    for number in range(3):
        keeper.put_activation(activation(number))
    assert keeper.write_batch()
    spool.is_disk_full = False
    assert keeper.write_batch()  # in vain; but now the disk has the rest
    assert (tmp_path / "00000001.log").read_bytes().count(b"\n") == 3
    assert keeper.counts().in_hand == keeper.counts().at_risk == 0
    shelf.records.database.faults.come_back()
    drain(keeper)
    keeper.close(deadline_s=0)
    assert stored(shelf) == {id_of(number) for number in range(3)}
    assert keeper.counts().kept == 3


def test_what_neither_takes_is_told(
    shelf: DelicateShelf, spool: FailingSpool, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Keeper(shelf, spool, SystemClock(), patience=QUICK)
    shelf.records.database.faults.go_down()
    spool.is_disk_full = True
    keeper.put_activation(activation(7))
    keeper.start()
    keeper.close(deadline_s=0.05)
    assert f"1 records are lost, as neither database nor disk took them: ['{id_of(7)}']" in caplog.text


def test_failures_are_told_now_and_then_and_their_end(
    keeper: Keeper, shelf: DelicateShelf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    shelf.records.database.faults.on_next(*[Trouble.REFUSED] * 100)
    keeper.put_activation(activation(1))
    drain(keeper)
    told = [record.getMessage() for record in caplog.records]
    assert [message.split(": ")[0] for message in told] == [
        *(f"records cannot be written, and wait, failure {n}" for n in (1, 2, 4, 8, 16, 32, 64)),
        "records are written again, after 100 failures",
    ]
    assert all("503" in message for message in told[:-1])


def test_records_of_many_threads_are_all_stored(keeper: Keeper, shelf: DelicateShelf) -> None:
    faults = shelf.records.database.faults
    keeper.start()
    threads = [
        threading.Thread(target=lambda base=base: [keeper.put_activation(activation(base + n)) for n in range(100)])
        for base in range(0, 800, 100)
    ]
    for thread in threads:
        thread.start()
        faults.on_next(Trouble.LOST, None, Trouble.REFUSED)
    for thread in threads:
        thread.join(WAIT_S)
    keeper.close(deadline_s=WAIT_S)
    assert stored(shelf) == {id_of(number) for number in range(800)}
    assert keeper.counts().kept == 800


def test_a_mistake_of_our_own_with_one_record_does_not_stop_the_others(
    keeper: Keeper, shelf: DelicateShelf, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write = shelf.write

    def mistaken(records: Sequence[Record]) -> Answer:
        if id_of(3) in [record.id for record in records]:
            raise ZeroDivisionError("our own mistake")
        return write(records)

    monkeypatch.setattr(shelf, "write", mistaken)
    keeper.start()
    for number in range(20):
        keeper.put_activation(activation(number))
    until(lambda: keeper.counts().kept == 19, keeper)
    keeper.put_activation(activation(20))
    until(lambda: keeper.counts().kept == 20, keeper)
    assert stored(shelf) == {id_of(number) for number in range(21)} - {id_of(3)}
    assert "our own mistake" in caplog.text
