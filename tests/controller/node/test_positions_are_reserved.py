"""While messages come quickly the bus is told ahead and the slate from message to message; a crash finds both."""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule
from mortals import Death, MortalSlate, Witness
from rigs import WORK

from instar_controller.clients.memory_bus import MemoryBus
from instar_controller.clients.slate import PLACE_BYTES, SlateFile
from instar_controller.cluster_ports import From, Message, Position, Slate, SlateLine, Subscription, TopicSettings
from instar_controller.engines.bookmark import Bookmark
from instar_controller.engines.reserving import Reserving, ReservingSettings
from instar_controller.errors import BusError, StoreError
from instar_controller.policies import offsets
from instar_controller.policies.offsets import Place

pytestmark = pytest.mark.timeout(400)  # where the disk is slow

QUICKLY_S, SLOWLY_S = 0.1, 1.0


class CountedSlate:
    """A slate that counts what is asked of it, and can be broken."""

    def __init__(self, inner: Slate) -> None:
        self._inner = inner
        self.is_broken = False
        self.tries = 0

    def read(self, life: str) -> SlateLine | None:
        return self._inner.read(life)

    def write(self, line: SlateLine) -> None:
        self.tries += 1
        if self.is_broken:
            raise StoreError("the disk is full")
        self._inner.write(line)


class Reader:
    """One life of a reader over a bus in memory, by a clock that is set by hand."""

    def __init__(self, bus: MemoryBus, slate: Slate | None, *, ahead: int = 8) -> None:
        self.bus = bus
        self.now_s = 100.0
        self.subscription: Subscription = bus.subscribe(WORK, WORK, begin=From.EARLIEST)
        reserving = ReservingSettings(ahead=ahead, quick_s=0.25, rest_s=5.0)
        self.bookmark = Bookmark(Reserving(slate, reserving, lambda: self.now_s))
        self.bookmark.resume(self.subscription, runs_again=True)

    def take(self) -> Message | None:
        return next(iter(self.subscription.poll(timeout_s=0, most=1)), None)

    def hand_over(self, count: int = 1, *, after_s: float = QUICKLY_S, stays_open: bool = False) -> list[Place]:
        """So many messages, one by one, each for good unless it `stays_open`."""
        handed = []
        for _ in range(count):
            self.now_s += after_s
            self.bus.send(WORK, b"a message")
            message = self.take()
            place = None if message is None else self.bookmark.receive(message)
            assert place is not None
            self.bookmark.keep(self.subscription, () if stays_open else (place,))
            handed.append(place)
        return handed

    @property
    def committed(self) -> Position:
        return self.bus.committed(WORK, WORK)[0]

    @property
    def is_reserved(self) -> bool:
        return offsets.reservation(self.committed.note) is not None


@pytest.fixture
def bus() -> MemoryBus:
    made = MemoryBus()
    made.ensure_topic(WORK, TopicSettings())
    return made


@pytest.fixture
def slate(tmp_path: Path) -> Iterator[CountedSlate]:
    file = SlateFile(tmp_path / "handed-over", WORK)
    yield CountedSlate(file)
    file.close()


@pytest.fixture
def begin(bus: MemoryBus, slate: CountedSlate) -> Callable[[], Reader]:
    """Begins another life."""
    return lambda: Reader(bus, slate)


def test_what_comes_slowly_is_committed_each_time(begin: Callable[[], Reader], slate: CountedSlate) -> None:
    reader = begin()
    for at in range(5):
        reader.hand_over(after_s=SLOWLY_S)
        assert reader.committed == Position(at + 1)
    assert slate.tries == 0


def test_what_comes_quickly_is_committed_once_for_many(begin: Callable[[], Reader], slate: CountedSlate) -> None:
    reader = begin()
    reader.hand_over(2)
    reserved = reader.committed
    assert (reserved.offset, reader.is_reserved) == (2, True)
    reader.hand_over(8)
    assert reader.committed == reserved
    reader.hand_over()
    assert reader.committed.offset == 11


def test_nothing_is_reserved_without_a_slate(bus: MemoryBus) -> None:
    reader = Reader(bus, None)
    for at in range(5):
        reader.hand_over()
        assert reader.committed == Position(at + 1)


def test_a_reservation_is_given_back_when_messages_stop(begin: Callable[[], Reader]) -> None:
    reader = begin()
    reader.hand_over(5)
    assert not reader.bookmark.is_due
    reader.now_s += SLOWLY_S
    assert reader.bookmark.is_due
    reader.bookmark.settle(reader.subscription)
    assert reader.committed == Position(5)
    assert not reader.bookmark.is_due


def test_a_slower_pace_ends_in_commits(begin: Callable[[], Reader]) -> None:
    reader = begin()
    reader.hand_over(5)
    reader.now_s += SLOWLY_S
    reader.bookmark.settle(reader.subscription)
    reader.hand_over(after_s=SLOWLY_S)
    assert reader.committed == Position(6)


def test_a_program_that_is_killed_goes_on_at_the_very_message(begin: Callable[[], Reader]) -> None:
    reader = begin()
    reader.hand_over(3)
    reader.hand_over(stays_open=True)
    reader.hand_over(2)
    again = begin()
    wanted = [at for at in range(6) if (message := again.take()) and again.bookmark.receive(message)]
    assert wanted == [1]  # of what comes from the committed offset on, 2, this is message 3


def test_what_only_the_slate_knows_to_be_closed_stays_so(begin: Callable[[], Reader]) -> None:
    reader = begin()
    reader.hand_over(2)
    (place,) = reader.hand_over(stays_open=True)
    reader.hand_over(2)
    reader.bookmark.close(place)
    assert reader.bookmark.keep(reader.subscription)
    again = begin()
    assert again.bookmark.handed == 5
    assert not any(again.bookmark.receive(message) for message in again.subscription.poll(timeout_s=0, most=9))


def test_killed_right_after_it_has_reserved(begin: Callable[[], Reader]) -> None:
    """There is a line of this life on the slate, so that nobody takes it for lost."""
    reader = begin()
    reader.hand_over(2)
    assert reader.is_reserved
    reader.bus.send(WORK, b"another")
    again = begin()
    message = again.take()
    assert message is not None and message.offset == 2
    place = again.bookmark.receive(message)
    assert place is not None and not place.is_doubtful


def test_killed_between_its_first_line_and_its_first_reservation(
    begin: Callable[[], Reader], bus: MemoryBus, slate: CountedSlate
) -> None:
    """The line that counts is that of the life before, and is still there."""
    begin().hand_over(6)
    second = begin()
    assert second.bookmark.handed == 6
    lines = slate.tries
    bus.go_down()
    places: list[Place] = []
    for offset in (6, 7):
        second.now_s += QUICKLY_S
        place = second.bookmark.receive(Message(0, offset, b"", 0))
        assert place is not None
        places.append(place)
        with pytest.raises(BusError):
            second.bookmark.keep(second.subscription, places)
    assert slate.tries == lines + 1
    bus.come_back()
    assert begin().bookmark.handed == 6


@pytest.mark.parametrize("lost", ["the file", "every line"])
def test_what_is_reserved_is_in_doubt_if_the_slate_is_lost(
    begin: Callable[[], Reader], tmp_path: Path, lost: str, caplog: pytest.LogCaptureFixture
) -> None:
    reader = begin()
    reader.hand_over(2)
    reader.hand_over(3)  # by the slate alone
    reader.bus.send(WORK, b"was not read")
    path = tmp_path / "handed-over"
    if lost == "the file":
        path.unlink()
    else:
        path.write_bytes(b"")
    again = begin()
    reader.bus.send(WORK, b"came after the crash")
    doubtful = {
        place.offset: place.is_doubtful
        for message in again.subscription.poll(timeout_s=0, most=9)
        if (place := again.bookmark.receive(message))
    }
    assert doubtful == {2: True, 3: True, 4: True, 5: True, 6: False}
    assert "any message from 2 to 5 may have been begun" in caplog.text


def test_doubt_outlives_another_crash(begin: Callable[[], Reader], tmp_path: Path) -> None:
    reader = begin()
    reader.hand_over(5)
    (tmp_path / "handed-over").unlink()
    second = begin()
    message = second.take()
    assert message is not None
    second.bookmark.receive(message)
    second.bookmark.settle(second.subscription)
    third = begin()
    message = third.take()
    assert message is not None
    place = third.bookmark.receive(message)
    assert place is not None and place.is_doubtful


def test_while_the_slate_cannot_be_written_each_message_is_committed(
    begin: Callable[[], Reader], slate: CountedSlate, caplog: pytest.LogCaptureFixture
) -> None:
    reader = begin()
    reader.hand_over(4)
    slate.is_broken = True
    before = slate.tries
    for at in range(20):
        reader.hand_over()
        assert reader.committed == Position(at + 5)
    assert slate.tries == before + 1, "it is left alone for a while"
    assert caplog.text.count("the disk is full") == 1
    reader.now_s += 5.0
    reader.hand_over(2)
    assert slate.tries == before + 2
    slate.is_broken = False
    reader.now_s += 5.0
    reader.hand_over(3)
    assert reader.is_reserved


def test_a_commit_of_which_nobody_knows_the_outcome_ends_the_reservation(
    begin: Callable[[], Reader], bus: MemoryBus
) -> None:
    """Else the slate would go on beside a position that may be exact, and says that nothing was handed over since."""
    reader = begin()
    reader.hand_over(4)
    reader.now_s += SLOWLY_S
    inner = reader.subscription

    class Unheard:
        def commit(self, positions: dict[int, Position]) -> None:
            inner.commit(positions)
            raise BusError("no answer came")

        def __getattr__(self, name: str) -> object:
            return getattr(inner, name)

    with pytest.raises(BusError):
        reader.bookmark.settle(Unheard())  # type: ignore[arg-type]
    reader.hand_over()
    assert begin().bookmark.handed == 5


def test_a_topic_that_was_made_anew_needs_another_reservation(begin: Callable[[], Reader], bus: MemoryBus) -> None:
    reader = begin()
    reader.hand_over(5)
    bus.lose(WORK)
    reader.hand_over()
    assert reader.committed.offset == 1
    assert begin().bookmark.handed == 1


def test_each_partition_has_its_own_reservation(slate: CountedSlate) -> None:
    bus = MemoryBus()
    bus.ensure_topic(WORK, TopicSettings(partitions=2))
    reader = Reader(bus, slate)
    reader.hand_over(9)
    kept = bus.committed(WORK, WORK)
    assert {partition for partition, at in kept.items() if offsets.reservation(at.note)} == {0, 1}
    again = Reader(bus, slate)
    assert [again.bookmark.receive(message) for message in again.subscription.poll(timeout_s=0, most=9)] == [
        None for _ in range(9 - sum(at.offset for at in kept.values()))
    ]


class AnyCourse(RuleBasedStateMachine):
    """Invariants, over any number of lives:

    - what was handed over for good is never handed over again, unless in doubt;
    - what was not is handed over again, and in doubt only if a crash has taken a slate along that was in use;
    - what was sent after that crash is never in doubt.
    """

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.bus = MemoryBus()
        self.bus.ensure_topic(WORK, TopicSettings())
        self.boots = itertools.count()
        self.files: list[SlateFile] = []
        self.done: set[int] = set()  # handed over for good, or finished
        self.left: set[int] = set()  # in doubt, and not begun
        self.doubted_before = 0  # nothing from here on may be in doubt
        self.start_machine()
        self.live()

    def start_machine(self) -> None:
        (Path(self.folder.name) / "boot_id").write_text(f"{next(self.boots)}\n")

    def live(self) -> None:
        folder = Path(self.folder.name)
        self.files.append(SlateFile(folder / "handed-over", WORK, boot_id=folder / "boot_id"))
        self.slate = MortalSlate(self.files[-1], Death(), Witness())
        self.reader = Reader(self.bus, self.slate, ahead=6)
        self.open: dict[int, Place] = {}

    @rule(pause_s=st.sampled_from([QUICKLY_S, QUICKLY_S, SLOWLY_S]), stays_open=st.lists(st.booleans(), max_size=4))
    def messages_come(self, pause_s: float, stays_open: list[bool]) -> None:
        reader = self.reader
        reader.now_s += pause_s
        was_up = self.bus.is_up()
        self.bus.come_back()
        for _ in stays_open:
            self.bus.send(WORK, b"")
        found = reader.subscription.poll(timeout_s=0, most=len(stays_open)) if stays_open else []
        if not was_up:
            self.bus.go_down()
        places = [place for message in found if (place := self.look(message.offset))]
        again = [place for place, stays in zip(places, stays_open, strict=False) if stays]
        for_good = [place for place in places if place not in again]
        while not self.keep(for_good):
            self.bus.come_back()
        self.done |= {place.offset for place in for_good}
        self.open |= {place.offset: place for place in again}

    def look(self, offset: int) -> Place | None:
        place = self.reader.bookmark.receive(Message(0, offset, b"", 0))
        if place is None:
            assert offset in self.done, f"{offset} is lost"
        elif place.is_doubtful:
            assert offset < self.doubted_before, f"{offset} is in doubt"
        else:
            assert offset not in self.done, f"{offset} comes again"
        return place

    def keep(self, places: list[Place]) -> bool:
        try:
            self.reader.bookmark.keep(self.reader.subscription, places)
        except BusError:
            return False
        return True

    @rule(which=st.integers(0, 9))
    def one_finishes(self, which: int) -> None:
        if self.open:
            offset = sorted(self.open)[which % len(self.open)]
            self.reader.bookmark.close(self.open.pop(offset))
            while not self.keep([]):
                self.bus.come_back()
            self.done.add(offset)

    @rule()
    def messages_stop(self) -> None:
        self.reader.now_s += SLOWLY_S
        if self.reader.bookmark.is_due and self.bus.is_up():
            self.reader.bookmark.settle(self.reader.subscription)
            assert not self.reader.is_reserved

    @rule(is_up=st.booleans())
    def bus_comes_or_goes(self, is_up: bool) -> None:
        (self.bus.come_back if is_up else self.bus.go_down)()

    @rule(is_full=st.booleans())
    def disk_fills_or_empties(self, is_full: bool) -> None:
        self.slate.is_full = is_full

    @rule(takes_along=st.sampled_from(["nothing", "nothing", "nothing", "machine", "slate", "a line", "both lines"]))
    def crash(self, takes_along: str) -> None:
        self.bus.come_back()
        path = Path(self.folder.name) / "handed-over"
        match takes_along:
            case "machine":
                self.start_machine()
            case "slate":
                path.unlink(missing_ok=True)
            case "a line":  # the one that would have been written next
                self.slate.tear()
            case "both lines" if path.exists():
                path.write_bytes(b"\0" * PLACE_BYTES + b"torn")
        if takes_along not in ("nothing", "a line"):
            self.doubted_before = len(self.bus.sent(WORK))
        self.live()

    def teardown(self) -> None:
        self.bus.come_back()
        self.live()
        for message in self.reader.subscription.poll(timeout_s=0, most=10_000):
            self.look(message.offset)
        for file in self.files:
            file.close()
        self.folder.cleanup()


AnyCourse.TestCase.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=True,
)


class TestAnyCourse(AnyCourse.TestCase):  # type: ignore[misc,name-defined]
    """Hypothesis prints the steps that lead to a failure, and the blob that repeats them."""
