"""Which activations have records: OpenWhisk's three levels, a namespace's own limit, and a request's wish."""

from __future__ import annotations

import pytest

from instar_controller.whisk import store_level, transid
from instar_controller.whisk.response import Status
from instar_controller.whisk.store_level import StoreLevel, StoreLevels
from instar_controller.whisk.values import Json

LEVELS = StoreLevels(StoreLevel.FAILURES, StoreLevel.NOT_APPLICATION_ERRORS)


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        ("STORE_ALWAYS", [0, 1, 2, 3]),
        ("STORE_FAILURES", [1, 2, 3]),
        ("STORE_FAILURES_NOT_APPLICATION_ERRORS", [2, 3]),
    ],
)
def test_a_level_takes_what_its_name_says(name: str, taken: list[int]) -> None:
    level = store_level.parse(name)
    assert [status.value for status in Status if level.takes(status)] == taken
    assert store_level.parse(name.lower()) is level  # as OpenWhisk reads it


@pytest.mark.parametrize("name", ["", "ALWAYS", "NEVER", "STORE_NOTHING"])
def test_what_is_no_level_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(ValueError, match="'STORE_ALWAYS', 'STORE_FAILURES', 'STORE_FAILURES_NOT_APPLICATION_ERRORS'"):
        store_level.parse(name)


def test_blocking_activations_and_others_have_each_their_level() -> None:
    usual = {"wants_records": True, "extra_logging": False}
    assert LEVELS.chosen(**usual, blocking=True) is StoreLevel.FAILURES
    assert LEVELS.chosen(**usual, blocking=False) is StoreLevel.NOT_APPLICATION_ERRORS


@pytest.mark.parametrize("blocking", [True, False])
def test_extra_logging_is_above_the_level_and_the_namespaces_limit_above_both(blocking: bool) -> None:
    assert LEVELS.chosen(wants_records=True, extra_logging=True, blocking=blocking) is StoreLevel.ALWAYS
    assert LEVELS.chosen(wants_records=False, extra_logging=True, blocking=blocking) is StoreLevel.NEVER
    assert not any(StoreLevel.NEVER.takes(status) for status in Status)


@pytest.mark.parametrize(
    ("value", "is_on"),
    [
        (["id", 7, True], True),
        (["id", 7, True, ["parent", 6]], True),
        (["id", 7], False),
        (["id", 7, False], False),
        (["id", 7, ["parent", 6, True]], False),  # the parent's; a child that has it says so itself
        (["id", -7, True], False),  # no transaction
        (["id", 7, 1], False),
    ],
)
def test_a_transaction_says_whether_more_is_to_be_logged(value: Json, is_on: bool) -> None:
    assert transid.parse(value).extra_logging is is_on
