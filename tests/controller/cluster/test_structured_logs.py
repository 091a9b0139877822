"""A line of the log says what it is about, as an object."""

from __future__ import annotations

import json
import logging
import re
import sys

import pytest

from instar_controller.clients import structured_logs

ID = "0123456789abcdef0123456789abcdef"
OTHER = "f" * 32


def line(message: str, *arguments: object, **more: object) -> dict[str, str]:
    record = logging.LogRecord("instar_controller.x", logging.WARNING, __file__, 1, message, arguments, None)
    for key, value in more.items():
        setattr(record, key, value)
    text = structured_logs.JsonFormatter().format(record)
    assert "\n" not in text
    found: dict[str, str] = json.loads(text)
    return found


def test_a_line_has_time_level_logger_and_message() -> None:
    found = line("container %s is removed: %s", "c1", "idle")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", found.pop("time"))
    assert found == {"level": "warning", "logger": "instar_controller.x", "message": "container c1 is removed: idle"}


def test_the_activation_is_that_of_the_message() -> None:
    assert line("container %s has not seen activation %s: gone", "c1", ID)["activation"] == ID


def test_the_activation_is_that_of_the_call() -> None:
    found = line("lost", activation=ID, transaction="t1")
    assert (found["activation"], found["transaction"]) == (ID, "t1")


def test_the_activation_is_what_is_being_worked_on() -> None:
    with structured_logs.about(ID, "t2"):
        found = line("lost")
    assert (found["activation"], found["transaction"]) == (ID, "t2")
    assert "activation" not in line("lost")


def test_another_activation_of_the_message_keeps_its_transaction_to_itself() -> None:
    with structured_logs.about(ID, "t2"):
        found = line("activation %s is given up", OTHER)
    assert found["activation"] == OTHER
    assert "transaction" not in found


def test_an_exception_stays_in_its_line() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError:
        found = line("failed", exc_info=sys.exc_info())
    assert "ValueError: two\nlines" in found["exception"]


@pytest.fixture
def root() -> logging.Logger:
    return logging.getLogger()


def test_the_program_s_log_is_lines_of_json(capsys: pytest.CaptureFixture[str], root: logging.Logger) -> None:
    before, level = root.handlers[:], root.level
    ours = logging.getLogger("instar_controller")
    ours_level = ours.level
    try:
        structured_logs.configure_json("info")
        logging.getLogger("instar_controller.y").info("said")
        logging.getLogger("kafka").info("not said")
    finally:
        for handler in root.handlers[:]:
            root.removeHandler(handler)
        for handler in before:
            root.addHandler(handler)
        root.setLevel(level)
        ours.setLevel(ours_level)
    lines = capsys.readouterr().err.splitlines()
    assert [json.loads(each)["message"] for each in lines] == ["said"]
