"""Any sequence of failures and crashes.

Invariant: a record that `put_activation` has returned for is stored exactly once when all is over, or set aside if it
is one that the database never takes; only records that the full disk did not take may go with a crash. Nothing is
stored that was not put, and nothing is written twice (every stored document is of its first revision).
"""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from activations import activation, id_of
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from shelves import DelicateShelf
from test_keeper import FailingSpool

from instar_controller.clients.clock import SystemClock
from instar_controller.clients.memory_couch import Trouble
from instar_controller.clients.spool import SET_ASIDE
from instar_controller.engines.keeper import Keeper
from instar_controller.errors import StoreError
from instar_controller.policies.keeping import Patience

pytestmark = pytest.mark.timeout(400)  # where the disk is slow

PATIENCE = Patience(batch_records=8, batch_bytes=4000, interval_s=0, first_wait_s=0, longest_wait_s=0)
POISONS = ["refuses", "unsettled", "rejects", "stumbles"]


class Courses(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.root = Path(tempfile.mkdtemp())
        self.shelf = DelicateShelf()
        self.count = self.lives = 0
        self.put: set[str] = set()
        self.poisonous: set[str] = set()
        self.at_risk: set[str] = set()  # put while the disk took nothing
        self.set_aside: set[str] = set()
        self.keeper: Keeper
        self.spool: FailingSpool

    @initialize()
    def begin(self) -> None:
        self._live(self.root / "0")

    @rule(kinds=st.lists(st.sampled_from([*[None] * 12, *POISONS]), min_size=1, max_size=25))
    def put_records(self, kinds: list[str | None]) -> None:
        for kind in kinds:
            if kind is not None:
                getattr(self.shelf, kind).add(id_of(self.count))
                self.poisonous.add(id_of(self.count))
            self._put(self.count)
            self.count += 1

    @precondition(lambda self: self.count > 0)
    @rule(data=st.data())
    def put_again(self, data: st.DataObject) -> None:
        self._put(data.draw(st.integers(0, self.count - 1)))

    @rule(turns=st.integers(1, 5))
    def write(self, turns: int) -> None:
        for _ in range(turns):
            self.keeper.write_batch()

    @rule(troubles=st.lists(st.sampled_from([Trouble.REFUSED, Trouble.LOST, None]), min_size=1, max_size=4))
    def make_trouble(self, troubles: list[Trouble | None]) -> None:
        self.shelf.records.database.faults.on_next(*troubles)

    @rule()
    def database_goes(self) -> None:
        self.shelf.records.database.faults.go_down()

    @rule()
    def database_is_out_of_order(self) -> None:
        self.shelf.is_out_of_order = True

    @rule()
    def database_comes_back(self) -> None:
        self.shelf.records.database.faults.come_back()
        self.shelf.is_out_of_order = False

    @rule()
    def disk_fills(self) -> None:
        self.spool.is_disk_full = True

    @rule()
    def disk_has_room_again(self) -> None:
        self.spool.is_disk_full = False

    @rule(garbage=st.binary(max_size=50))
    def crash(self, garbage: bytes) -> None:
        """The process is gone; the files are as they were at that moment, perhaps with the beginning of a line."""
        folder = self.root / f"{self.lives}"
        shutil.copytree(self.spool._folder, folder)
        last = max(folder.glob("*.log"))
        with last.open("ab") as file:
            file.write(garbage.replace(b"\n", b""))
        self.put -= {id for id in self.at_risk if id not in self._ended()}
        self._note_set_aside()
        self.spool.close()
        self._live(folder)

    @rule()
    def end_and_begin_again(self) -> None:
        folder = self.spool._folder
        is_disk_full = self.spool.is_disk_full
        self.keeper.close(deadline_s=0)
        if is_disk_full:
            self.put -= {id for id in self.at_risk if id not in self._ended()}
        self._note_set_aside()
        self._live(folder)

    def teardown(self) -> None:
        if not hasattr(self, "keeper"):
            return
        try:
            self.spool.is_disk_full = False
            self.database_comes_back()
            for _ in range(100):
                for _ in range(50):
                    if not self.keeper.write_batch():
                        break
                else:
                    self._put(self.count)  # it shows who is to blame
                    self.count += 1
                    continue
                break
            self._note_set_aside()
            documents = self.shelf.records.database.documents()
            assert self.put - self.poisonous <= set(documents), "a record is lost"
            assert self.put & self.poisonous <= self.set_aside, "a poisonous record is lost"
            assert set(documents) <= {id_of(number) for number in range(self.count)} - self.poisonous
            assert not self.set_aside - self.poisonous, "a good record was set aside"
            assert all(str(document["_rev"]).startswith("1-") for document in documents.values())
            counts = self.keeper.counts()
            assert (counts.in_hand, counts.waiting_bytes) == (0, 0)
        finally:
            self.keeper.close(deadline_s=0)
            shutil.rmtree(self.root)

    def _live(self, folder: Path) -> None:
        self.lives += 1
        self.spool = FailingSpool(folder, segment_bytes=3000)
        self.keeper = Keeper(self.shelf, self.spool, SystemClock(), patience=PATIENCE)
        self.at_risk = set()

    def _put(self, number: int) -> None:
        id = id_of(number)
        is_new_here = id not in self.put
        try:
            self.keeper.put_activation(activation(number))
        except StoreError:
            return
        self.put.add(id)
        if self.spool.is_disk_full and is_new_here:
            self.at_risk.add(id)
        elif not self.spool.is_disk_full:
            self.at_risk.discard(id)

    def _ended(self) -> set[str]:
        self._note_set_aside()
        return self.set_aside | set(self.shelf.records.database.documents())

    def _note_set_aside(self) -> None:
        file = self.spool._folder / SET_ASIDE
        if file.exists():
            self.set_aside |= {json.loads(line)["id"] for line in file.read_text(encoding="utf-8").splitlines()}


Courses.TestCase.settings = settings(
    max_examples=100, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnyCourseOfRecords = Courses.TestCase
