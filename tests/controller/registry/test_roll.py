"""The roll comes back as it was written, or not at all; and it has a name for each model."""

from __future__ import annotations

import pytest

from instar_controller.clients import roll as rolls
from instar_controller.clients.roll import Entry, Roll

ROLL = Roll(
    "costs",
    "a processor",
    (
        Entry("guest/one", 3, {"net": "d1"}),
        Entry("guest/two", 5, {"net": "d1", "head": "d2"}),
        Entry("guest/three", 7, {}, "https://models.example/far"),
        Entry("guest/four", 9, {"net": "d2"}, "https://models.example/far"),
        Entry("guest/none", 11, {}, "https://models.example/gone"),
    ),
    {"https://models.example/far": "d3"},
)


def test_a_roll_comes_back_as_it_was() -> None:
    assert rolls.decode(rolls.encode(ROLL)) == ROLL


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"null", b"{}", b"[" * 100_000, b'{"version": 1}', rolls.encode(ROLL)[:-1],
     rolls.encode(ROLL).replace(b'"version": 1', b'"version": 2'), rolls.encode(ROLL).replace(b"3,", b"null,", 1)],
)  # fmt: skip
def test_what_is_damaged_is_no_roll(data: bytes) -> None:
    assert rolls.decode(data) is None


def test_a_model_has_the_name_of_its_action_and_its_own_where_there_are_several() -> None:
    assert ROLL.named() == {
        "guest/one": "d1",
        "guest/two:head": "d2",
        "guest/two:net": "d1",
        "guest/three": "d3",
        "guest/four:far": "d3",
        "guest/four:net": "d2",
    }
