"""Cutting a container's output into activations: whatever it writes, and however it comes in."""

from __future__ import annotations

import itertools
import threading

import hypothesis.strategies as st
from hypothesis import HealthCheck, given, settings

from instar_controller.clients.logbook import LONGEST_LINE_BYTES, SENTINEL, Logbook
from instar_controller.ports import Log

MIB = 1 << 20
END = SENTINEL + b"\n"


def book(limit_bytes: int = MIB) -> Logbook:
    new = Logbook()
    new.begin(limit_bytes)
    return new


def feed(to: Logbook, out: bytes = b"", err: bytes = b"", *, now_ns: int = 0) -> None:
    to.feed("stdout", out, now_ns=now_ns)
    to.feed("stderr", err, now_ns=now_ns)


def collect(from_: Logbook, timeout_ms: int = 0) -> Log:
    return from_.collect(timeout_ms=timeout_ms)


def texts(log: Log) -> list[str]:
    return [f"{line.stream}: {line.text}" for line in log.lines]


def test_both_streams_are_read_up_to_their_sentinels() -> None:
    log = book()
    feed(log, b"one\ntwo\n" + END, b"three\n" + END)
    read = collect(log)
    assert texts(read) == ["stdout: one", "stdout: two", "stderr: three"]
    assert (read.is_complete, read.is_truncated) == (True, False)


def test_lines_are_in_the_order_in_which_they_came() -> None:
    log = book()
    feed(log, err=b"first\n", now_ns=1)
    feed(log, out=b"second\n", now_ns=2)
    feed(log, END, END, now_ns=3)
    assert texts(collect(log)) == ["stderr: first", "stdout: second"]


def test_last_words_without_an_end_of_line_are_kept() -> None:
    log = book()
    feed(log, b"no newline" + END, END)
    assert texts(collect(log)) == ["stdout: no newline"]


def test_the_sentinel_within_a_line_is_not_the_end() -> None:
    log = book()
    feed(log, b"what is " + SENTINEL + b"?\n" + END, END)
    assert texts(collect(log)) == [f"stdout: what is {SENTINEL.decode()}?"]


def test_what_comes_after_the_sentinel_belongs_to_the_next_activation() -> None:
    log = book()
    feed(log, b"one\n" + END + b"late\n", END)
    assert texts(collect(log)) == ["stdout: one"]
    log.begin(MIB)
    feed(log, b"two\n" + END, END)
    assert texts(collect(log)) == ["stdout: late", "stdout: two"]


def test_a_function_that_prints_the_sentinel_spoils_no_other_log() -> None:
    log = book()
    feed(log, b"one\n" + END + END + END, END)
    assert texts(collect(log)) == ["stdout: one"]
    log.begin(MIB)
    feed(log, b"two\n")
    assert not collect(log).is_complete


def test_words_before_the_first_activation_are_in_its_log() -> None:
    log = Logbook()
    feed(log, err=b"booting\n")
    log.begin(MIB)
    feed(log, END, END)
    assert texts(collect(log)) == ["stderr: booting"]


def test_bytes_that_are_not_text_are_replaced() -> None:
    log = book()
    feed(log, b"\xff\xfe\n" + END, END)
    assert texts(collect(log)) == ["stdout: \ufffd\ufffd"]


def test_beyond_the_limit_nothing_more_is_kept() -> None:
    log = book(limit_bytes=10)
    feed(log, b"12345\n123456\n1\n" + END, END)
    read = collect(log)
    assert texts(read) == ["stdout: 12345"]
    assert (read.is_complete, read.is_truncated) == (True, True)
    log.begin(10)
    feed(log, b"123456789\n" + END, END)
    assert not collect(log).is_truncated


def test_a_line_without_an_end_does_not_grow_for_ever() -> None:
    log = book(limit_bytes=8 * MIB)
    for _ in range(48):
        feed(log, b"x" * (LONGEST_LINE_BYTES // 16))
    log.end("stdout", now_ns=0)
    assert len(collect(log).lines) > 1


def test_the_collector_waits_for_the_sentinels_but_not_longer_than_it_is_told() -> None:
    log = book()
    assert not collect(log, timeout_ms=1).is_complete
    reads: list[Log] = []
    collector = threading.Thread(target=lambda: reads.append(collect(log, timeout_ms=60_000)))
    collector.start()
    feed(log, b"now\n" + END, END)
    collector.join(60)
    assert texts(reads[0]) == ["stdout: now"]


def test_streams_that_end_are_not_waited_for() -> None:
    log = book()
    feed(log, b"dying words", END)
    for stream in ("stdout", "stderr"):
        log.end(stream, now_ns=0)
    read = collect(log, timeout_ms=60_000)
    assert texts(read) == ["stdout: dying words"]
    assert not read.is_complete


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    lines=st.lists(st.binary(max_size=20).filter(lambda b: b"\n" not in b and not b.endswith(SENTINEL)), max_size=8),
    cuts=st.lists(st.integers(0, 300), max_size=8),
)
def test_it_does_not_matter_how_the_bytes_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    log, whole = book(), b"".join(line + b"\n" for line in lines) + END
    places = [0, *sorted(min(cut, len(whole)) for cut in cuts), len(whole)]
    for start, end in itertools.pairwise(places):
        feed(log, whole[start:end])
    feed(log, err=END)
    assert [line.text for line in collect(log).lines] == [line.decode("utf-8", "replace") for line in lines]


def test_what_lies_before_a_mark_is_in_nobodys_log() -> None:
    log = book()
    feed(log, b"old\n" + END + b"late\n" + END, END + b"late\n")
    log.begin(MIB, mark="the mark")
    feed(log, b"later\nthe mark\nnew\n" + END, b"unfinished, the mark\n" + END)
    read = collect(log)
    assert (texts(read), read.is_complete, read.is_truncated) == (["stdout: new"], True, False)


def test_a_sentinel_before_the_mark_ends_nothing() -> None:
    log = book()
    log.begin(MIB, mark="the mark")
    feed(log, END + END + b"the mark\nnew\n", END + b"the mark\n")
    assert not collect(log).is_complete
    feed(log, b"newer\n" + END, END)
    assert collect(log).is_complete


def test_a_stream_without_its_mark_shows_nothing() -> None:
    log = book()
    log.begin(MIB, mark="the mark")
    feed(log, b"old\n" + END, b"the mark\nnew\n" + END)
    read = collect(log)
    assert (texts(read), read.is_complete) == (["stderr: new"], False)


def test_what_lies_before_a_mark_does_not_count_against_the_limit() -> None:
    log = book()
    log.begin(10, mark="the mark")
    feed(log, b"0123456789012345\nthe mark\nnew\n" + END, b"the mark\n" + END)
    read = collect(log)
    assert (texts(read), read.is_truncated) == (["stdout: new"], False)


def test_a_mark_that_never_came_is_forgotten_with_the_next_activation() -> None:
    log = book()
    log.begin(MIB, mark="the mark")
    feed(log, b"kept\n")
    log.begin(MIB)
    feed(log, END, END)
    read = collect(log)
    assert (texts(read), read.is_complete) == (["stdout: kept"], True)


def collected_until_quiet(log: Logbook, *, quiet_ms: int = 10, timeout_ms: int = 60_000) -> Log:
    return log.collect_until_quiet(quiet_ms=quiet_ms, timeout_ms=timeout_ms)


def test_a_log_without_sentinels_is_over_when_nothing_more_comes() -> None:
    log = book()
    feed(log, b"one\ntwo\n", b"three\n")
    assert sorted(texts(collected_until_quiet(log))) == ["stderr: three", "stdout: one", "stdout: two"]


def test_whatever_comes_has_it_waited_for_more() -> None:
    """The quiet is so long that it does not come: only the end of both streams ends the log."""
    log = book()
    feed(log, b"one\n")
    found: list[Log] = []
    reader = threading.Thread(target=lambda: found.append(collected_until_quiet(log, quiet_ms=60_000)))
    reader.start()
    feed(log, b"two\n")
    for stream in ("stdout", "stderr"):
        log.end(stream, now_ns=0)
    reader.join(60)
    assert [texts(read) for read in found] == [["stdout: one", "stdout: two"]]


def test_sentinels_end_a_log_that_need_not_have_them() -> None:
    log = book()
    feed(log, b"one\n" + END + b"of the next\n", END)
    assert texts(collected_until_quiet(log, quiet_ms=60_000)) == ["stdout: one"]


def test_a_log_that_is_never_quiet_is_taken_when_time_is_up() -> None:
    log = book()
    feed(log, b"one\n")
    is_over = threading.Event()

    def write_on() -> None:
        while not is_over.wait(0.001):
            feed(log, b"more\n")

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        read = collected_until_quiet(log, quiet_ms=60_000, timeout_ms=50)
    finally:
        is_over.set()
        writer.join(60)
    assert texts(read)[0] == "stdout: one"


def test_what_comes_after_the_quiet_is_the_next_ones() -> None:
    log = book()
    feed(log, b"one\n")
    assert texts(collected_until_quiet(log)) == ["stdout: one"]
    feed(log, b"late\n")
    log.begin(MIB)
    feed(log, b"two\n")
    assert texts(collected_until_quiet(log)) == ["stdout: late", "stdout: two"]
