"""A line of the log says what it is about: as an object, and for people."""

from __future__ import annotations

import contextvars
import json
import logging
import re
import sys
import threading
from collections.abc import Callable, Iterator

import pytest

from instar_controller import log_context
from instar_controller.clients import structured_logs

ID = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32
NOBODYS = "e" * 32  # that nobody has worked on


def record(message: str, *arguments: object, exc_info: object = None) -> logging.LogRecord:
    return logging.LogRecord(
        "instar_controller.x",
        logging.WARNING,
        __file__,
        1,
        message,
        arguments,
        exc_info,  # type: ignore[arg-type]
    )


def line(message: str, *arguments: object, exc_info: object = None) -> dict[str, str]:
    text = structured_logs.JsonFormatter().format(record(message, *arguments, exc_info=exc_info))
    assert "\n" not in text
    found: dict[str, str] = json.loads(text)
    return found


def text(message: str, *arguments: object, exc_info: object = None) -> str:
    whole = structured_logs.TextFormatter().format(record(message, *arguments, exc_info=exc_info))
    return re.sub(r"^\S+ \S+ WARNING instar_controller\.x: ", "", whole)


def test_a_line_has_time_level_logger_and_message() -> None:
    found = line("container %s is removed: %s", "c1", "idle")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {"level": "warning", "logger": "instar_controller.x", "message": "container c1 is removed: idle"}


def test_the_activation_is_that_of_the_message() -> None:
    found = line("container %s has not seen activation %s: gone", "c1", NOBODYS)
    assert found["activation"] == NOBODYS
    assert "transaction" not in found


def test_the_activation_is_that_of_a_record_that_the_message_names() -> None:
    assert line("the database will not take the record %s", f"guest/{NOBODYS}")["activation"] == NOBODYS


def test_a_message_that_names_several_is_about_none_of_them() -> None:
    with log_context.about(ID, "t1"):
        found = line("2 records are lost: %s", [f"guest/{ID}", f"guest/{OTHER}"])
    assert "activation" not in found and "transaction" not in found


def test_the_activation_is_what_is_being_worked_on() -> None:
    with log_context.about(ID, "t2"):
        found = line("lost")
    assert (found["activation"], found["transaction"]) == (ID, "t2")
    assert "activation" not in line("lost")


def test_what_is_worked_on_within_other_work_comes_first() -> None:
    with log_context.about(ID, "t2"):
        with log_context.about(OTHER, "t3"):
            assert line("lost")["transaction"] == "t3"
        assert line("lost")["transaction"] == "t2"


def test_an_activation_that_was_worked_on_keeps_its_transaction() -> None:
    """Also where another one is being worked on, and in any thread."""
    with log_context.about(OTHER, "t3"):
        pass
    with log_context.about(ID, "t2"):
        found = line("activation %s is given up", OTHER)
        assert (found["activation"], found["transaction"]) == (OTHER, "t3")
        assert "transaction" not in line("activation %s is given up", NOBODYS)


def test_only_the_last_ones_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_context, "REMEMBERED", 2)
    ids = [f"{number:032x}" for number in range(3)]
    for id in (ids[0], ids[1], ids[0], ids[2]):
        with log_context.about(id, f"t{id}"):
            pass
    assert [log_context.transaction_of(id) for id in ids] == [f"t{ids[0]}", None, f"t{ids[2]}"]


def test_a_thread_has_its_own_context_unless_it_is_given_one() -> None:
    found: list[dict[str, str]] = []

    def log() -> None:
        found.append(line("said"))

    def run(target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target)
        thread.start()
        thread.join(30)

    with log_context.about(ID, "t2"):
        context = contextvars.copy_context()
        run(log)
        run(lambda: context.run(log))
    assert ["transaction" in one for one in found] == [False, True]


def test_an_exception_stays_in_its_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        found = line("failed", exc_info=sys.exc_info())
    assert "ValueError: two\nlines" in found["exception"]


def test_a_line_for_people_says_at_its_end_what_it_is_about() -> None:
    assert text("the bus is down") == "the bus is down"
    with log_context.about(ID, "t2"):
        assert text("container %s is up", "c1") == f"container c1 is up [activation {ID}, transaction t2]"
        assert text("activation %s is lost", ID) == f"activation {ID} is lost [transaction t2]"


def test_an_exception_comes_after_what_its_line_is_about() -> None:
    try:
        raise ValueError("a mistake")
    except ValueError:
        with log_context.about(ID, "t2"):
            first, *rest = text("failed", exc_info=sys.exc_info()).splitlines()
    assert first == f"failed [activation {ID}, transaction t2]"
    assert rest[-1] == "ValueError: a mistake"


def test_a_callers_transaction_can_neither_forge_lines_nor_fill_the_log() -> None:
    with log_context.about(ID, "t\n2026-01-01 WARNING forged" + "x" * 10_000):
        said = text("lost")
        assert len(line("lost")["transaction"]) == 200
    assert "\n" not in said and len(said) < 400


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """Python's root logger, and ours as they were in the end."""
    root, ours = logging.getLogger(), logging.getLogger("instar_controller")
    before, level, ours_level = root.handlers[:], root.level, ours.level
    yield root
    root.handlers[:] = before
    root.setLevel(level)
    ours.setLevel(ours_level)


@pytest.mark.usefixtures("root")
def test_the_program_s_log_is_lines_of_json(capsys: pytest.CaptureFixture[str]) -> None:
    structured_logs.configure_json("info")
    logging.getLogger("instar_controller.y").info("said")
    logging.getLogger("kafka").info("not said")
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(each)["message"] for each in lines] == ["said"]


@pytest.mark.usefixtures("root")
def test_the_program_s_log_is_lines_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    structured_logs.configure_text("info")
    with log_context.about(ID, "t2"):
        logging.getLogger("instar_controller.y").info("said")
    (said,) = capsys.readouterr().err.splitlines()
    assert said.endswith(f"INFO instar_controller.y: said [activation {ID}, transaction t2]")
