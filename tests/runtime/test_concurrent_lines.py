"""Where several runs share the log, nothing but whole lines gets into it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from instar.action.streams import WholeLines


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def lines(log: Path) -> WholeLines:
    return WholeLines(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND))


def test_a_line_is_passed_on_when_it_has_ended(lines: WholeLines, log: Path) -> None:
    lines.write(b"one\ntw")
    assert log.read_bytes() == b"one\n"
    lines.write(b"o\n")
    assert log.read_bytes() == b"one\ntwo\n"


def test_an_open_line_is_ended_by_the_end_of_a_run(lines: WholeLines, log: Path) -> None:
    lines.write(b"open")
    lines.settle()
    lines.settle()
    assert log.read_bytes() == b"open\n"


def test_lines_of_many_threads_are_whole(lines: WholeLines, log: Path) -> None:
    """Every write below makes or ends a line, and so does `settle`: no text may follow another on one line."""

    def print_line() -> None:
        lines.write(b"a whole line\n")

    def print_open_line() -> None:
        lines.write(b"open")
        lines.settle()

    def repeat(body: Callable[[], None]) -> None:
        for _ in range(500):
            body()

    bodies = [print_line, lines.settle] * 4 + [print_open_line] * 2
    threads = [threading.Thread(target=repeat, args=(body,)) for body in bodies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    text = log.read_text()
    assert text.count("a whole line\n") == 2000
    assert text.count("open") == 1000
    assert text.endswith("\n")
