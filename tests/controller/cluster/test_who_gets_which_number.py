"""Numbers of invokers that have only names: what is decided, how it is written, and what happens meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from instar_controller.engines import numbering as engine
from instar_controller.errors import SettingsError, StoreError
from instar_controller.policies import numbering
from instar_controller.policies.numbering import Entry, Known, Roll
from instar_controller.whisk import invoker_numbers

# How long an example takes is the machine's business, which may stand still for a while.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def roll(_count: int | None = None, /, **known: int | None) -> Roll:
    return Roll(known, len(known) if _count is None else _count)


# What Java's `BigInteger.toByteArray` and Curator's `SharedCount` make of these.
@pytest.mark.parametrize(
    ("number", "hexadecimal"), [(0, "00"), (1, "01"), (127, "7f"), (128, "0080"), (200, "00c8"), (65536, "010000")]
)
def test_a_number_is_written_as_a_stock_invoker_writes_it(number: int, hexadecimal: str) -> None:
    assert invoker_numbers.encode(number) == bytes.fromhex(hexadecimal)
    assert invoker_numbers.decode(bytes.fromhex(hexadecimal)) == number


@unhurried
@given(st.integers(0, invoker_numbers.MOST))
def test_what_is_written_is_read(number: int) -> None:
    assert invoker_numbers.decode(invoker_numbers.encode(number)) == number
    assert invoker_numbers.decode_count(invoker_numbers.encode_count(number)) == number


@pytest.mark.parametrize("data", [b"", b"\xff", b"three", b"\x00\x80\x00\x00\x00"])
def test_what_is_no_number_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="is no number from 0 to 2147483647"):
        invoker_numbers.decode(data)


@pytest.mark.parametrize("data", [b"", b"\x01", b"\xff\xff\xff\xff", b"12345"])
def test_what_is_no_count_is_none(data: bytes) -> None:
    with pytest.raises(ValueError, match="is no count of invokers"):
        invoker_numbers.decode_count(data)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b"])
def test_a_name_has_to_be_one_that_zookeeper_can_have(name: str) -> None:
    with pytest.raises(ValueError, match="must not be"):
        invoker_numbers.node_of(name)


def test_a_new_name_gets_the_number_of_names_as_from_a_stock_invoker() -> None:
    assert numbering.decide("a", roll()) == Entry("a", 0, 1, is_new=True)
    assert numbering.decide("c", roll(a=0, b=1)) == Entry("c", 2, 3, is_new=True)
    assert numbering.decide("c", roll(a=0, b=None)) == Entry("c", 2, 3, is_new=True)


def test_a_number_that_belongs_to_somebody_is_not_given_again() -> None:
    assert numbering.decide("d", roll(a=1, b=2)) == Entry("d", 0, 3, is_new=True)
    assert numbering.decide("d", roll(a=0, b=1, c=3)) == Entry("d", 2, 4, is_new=True)


def test_a_name_keeps_its_number() -> None:
    assert numbering.decide("b", roll(a=0, b=1, c=2)) == Known(1)
    assert numbering.decide("b", roll(b=70)) == Known(70)


def test_two_names_with_one_number_are_for_people() -> None:
    with pytest.raises(SettingsError, match=r"the number 1 for the invoker 'a', and for 'b', 'c'.*--overwriteId N"):
        numbering.decide("a", roll(a=1, b=1, c=1))
    assert numbering.decide("d", roll(a=1, b=1, d=0)) == Known(0)  # it is not this one's trouble


def test_a_number_that_cannot_be_read_is_for_people() -> None:
    with pytest.raises(SettingsError, match=r"for the invoker 'a' is no number; give it one from 0 to 2"):
        numbering.decide("a", roll(a=None, b=0))


def test_a_number_given_by_hand_is_taken_from_whoever_has_it() -> None:
    assert numbering.overwrite("c", 0, roll(a=0, b=1)) == Entry("c", 0, 2, is_new=True, losers=("a",))
    assert numbering.overwrite("b", 0, roll(a=0, b=1)) == Entry("b", 0, 1, is_new=False, losers=("a",))
    assert numbering.overwrite("c", 2, roll(a=0, b=1)) == Entry("c", 2, 3, is_new=True)
    assert numbering.overwrite("a", 0, roll(a=None)) == Entry("a", 0, 1, is_new=False)
    assert numbering.overwrite("a", 1, roll(a=1, b=1)) == Entry("a", 1, 1, is_new=False, losers=("b",))
    assert numbering.overwrite("a", 0, roll(a=0, b=1)) == Known(0)  # and again at each start


def test_a_number_given_by_hand_leaves_no_gap() -> None:
    with pytest.raises(SettingsError, match=r"--overwriteId 3: .* knows 2 invokers; give a number from 0 to 2"):
        numbering.overwrite("c", 3, roll(a=0, b=1))


class Kept:
    """Numbers in memory, which others change when `happens` says so: at a read, or while somebody waits."""

    def __init__(self, names: Mapping[str, int | None], *, count: int | None = None) -> None:
        self.names = dict(names)
        self.count = len(names) if count is None else count
        self.version = 0
        self.waited = 0
        self.after_read: list[Callable[[], None]] = []
        self.while_waiting: Callable[[], None] = lambda: None
        self._seen = 0

    def read(self) -> Roll:
        self._seen = self.version
        found = Roll(dict(self.names), self.count)
        if self.after_read:
            self.after_read.pop(0)()
        return found

    def wait_for_names(self, timeout_s: float) -> None:
        assert timeout_s == engine.ENTRY_S
        self.waited += 1
        self.while_waiting()

    def write(self, entry: Entry) -> bool:
        if self.version != self._seen:
            return False
        self.version += 1
        self.names = {name: n for name, n in self.names.items() if name not in entry.losers}
        self.names[entry.name], self.count = entry.number, entry.names
        return True

    def enter(self, name: str) -> None:
        """Somebody else does it."""
        self.version += 1
        self.names[name] = len(self.names)
        self.count = len(self.names)


def test_a_number_that_was_decided_from_what_is_past_is_decided_anew() -> None:
    kept = Kept({"a": 0})
    kept.after_read = [lambda: kept.enter("b")]
    assert engine.assign("c", kept) == 2
    assert kept.names == {"a": 0, "b": 1, "c": 2}
    assert (kept.count, kept.waited) == (3, 0)


def test_who_changes_them_for_ever_is_told() -> None:
    kept = Kept({})
    kept.after_read = [lambda n=n: kept.enter(f"n{n}") for n in range(engine.TRIES)]  # type: ignore[misc]
    with pytest.raises(StoreError, match="were changed by others 20 times while 'a' asked for one"):
        engine.assign("a", kept)


def test_a_stock_invoker_that_has_counted_itself_may_enter_its_name_first() -> None:
    kept = Kept({"a": 0}, count=2)
    kept.while_waiting = lambda: kept.names.update(stock=1)
    assert engine.assign("ours", kept) == 2
    assert kept.names == {"a": 0, "stock": 1, "ours": 2}


def test_one_that_has_counted_itself_and_never_comes_back_is_waited_for_once() -> None:
    kept = Kept({"a": 0}, count=2)
    assert engine.assign("ours", kept) == 1
    assert (kept.waited, kept.count) == (1, 2)


def test_a_name_that_has_a_number_waits_for_nobody() -> None:
    kept = Kept({"a": 0}, count=9)
    assert engine.assign("a", kept) == 0
    assert (kept.waited, kept.version) == (0, 0)


def test_a_number_given_by_hand_is_kept() -> None:
    kept = Kept({"a": 0, "b": 1})
    assert engine.assign("b", kept, overwrite=0) == 0
    assert engine.assign("b", kept) == 0
    assert engine.assign("a", kept) == 1
    assert kept.names == {"a": 1, "b": 0}


# Invariant: whatever was there, by whatever hand, nobody gets a number that somebody else has, and what one has
# got one keeps.
@unhurried
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.none() | st.integers(0, 7)),
    st.lists(st.tuples(st.sampled_from("abcdefgh"), st.none() | st.integers(0, 7)), max_size=8),
)
def test_nobody_gets_what_somebody_else_has(
    found: dict[str, int | None], starts: list[tuple[str, int | None]]
) -> None:
    kept = Kept(found)
    for name, overwrite in starts:
        try:
            number = engine.assign(name, kept, overwrite=overwrite)
        except SettingsError:
            continue
        assert [other for other, taken in kept.names.items() if taken == number] == [name]
        assert overwrite in (None, number)
        assert engine.assign(name, kept) == number
