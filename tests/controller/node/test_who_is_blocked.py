"""Which namespaces may run nothing is looked up once for each, again from time to time, and not of a database that
fails."""

from __future__ import annotations

from instar_controller.clients.memory_couch import MemorySubjects
from instar_controller.engines.blacklist import Blacklist


class Hands:
    """A clock that a test moves on."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def test_each_namespace_is_looked_up_once() -> None:
    subjects = MemorySubjects()
    subjects.block("bad")
    blacklist = Blacklist(subjects)
    assert blacklist.known("good") is blacklist.known("bad") is None
    assert (blacklist.look_up("good"), blacklist.look_up("bad")) == (False, True)
    assert (blacklist.known("good"), blacklist.known("bad")) == (False, True)
    assert (blacklist.look_up("good"), blacklist.look_up("bad")) == (False, True)
    assert subjects.database.faults.calls == 2


def test_all_are_looked_up_again() -> None:
    subjects = MemorySubjects()
    blacklist = Blacklist(subjects, interval_s=0.001)
    assert not blacklist.look_up("later")
    subjects.block("later")
    before = subjects.database.faults.calls
    blacklist.start()
    subjects.database.faults.wait_for_calls(
        before + 2
    )  # the first one's answer was taken before the second was asked
    blacklist.close()
    assert blacklist.known("later")


def test_a_database_that_fails_blocks_nobody_new_and_is_left_alone_for_a_while() -> None:
    subjects = MemorySubjects()
    subjects.block("bad")
    subjects.block("worse")
    clock = Hands()
    blacklist = Blacklist(subjects, rest_s=5.0, now=clock)
    assert blacklist.look_up("bad")
    subjects.database.faults.go_down()
    assert not blacklist.look_up("worse")
    calls = subjects.database.faults.calls
    assert (blacklist.known("bad"), blacklist.known("worse")) == (True, False)
    assert not blacklist.look_up("worse")
    assert subjects.database.faults.calls == calls
    subjects.database.faults.come_back()
    clock.now_s = 5.0
    assert blacklist.known("worse") is None
    assert blacklist.look_up("worse")


def test_refreshing_while_the_database_is_down_changes_nothing() -> None:
    subjects = MemorySubjects()
    subjects.block("bad")
    blacklist = Blacklist(subjects)
    assert blacklist.look_up("bad")
    subjects.database.faults.go_down()
    blacklist.refresh()
    assert blacklist.known("bad")
