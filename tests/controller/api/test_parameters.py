"""Parameters: how lists of them meet, and where each goes."""

from __future__ import annotations

import pytest

from instar_controller.errors import RefusedError
from instar_controller.whisk import parameters
from instar_controller.whisk.parameters import Parameter


def test_a_later_value_wins_and_keeps_the_first_place() -> None:
    merged = parameters.merge([Parameter("a", 1), Parameter("b", 2)], [Parameter("c", 3), Parameter("a", 4)])
    assert merged == (Parameter("a", 4), Parameter("b", 2), Parameter("c", 3))


def test_a_key_given_twice_counts_once() -> None:
    assert parameters.parse([{"key": "a", "value": 1}, {"key": "a", "value": 2}], what="x") == (Parameter("a", 2),)


def test_a_parameter_without_a_value_is_null() -> None:
    assert parameters.parse([{"key": "a"}], what="x") == (Parameter("a", None),)


def test_init_is_kept_on_the_way_through() -> None:
    stored = [{"key": "a", "value": 1, "init": True}, {"key": "b", "value": 2}]
    assert parameters.to_json(parameters.parse(stored, what="x")) == stored


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (None, ""),
        (True, "true"),
        (1.5, "1.5"),
        (12345678901234567890, "12345678901234567890"),
        ({"a": [1, "ü"]}, '{"a":[1,"ü"]}'),
    ],
)
def test_an_environment_variable_is_a_text(value: object, text: str) -> None:
    assert parameters.environment_text(value) == text  # type: ignore[arg-type]


def test_the_payload_of_a_request_goes_where_the_parameter_goes() -> None:
    defined = (Parameter("DIR", "/a", init=True), Parameter("n", 1))
    assert parameters.split(defined, {"DIR": "/b", "m": 2}) == ({"n": 1, "m": 2}, {"DIR": "/b"})


@pytest.mark.parametrize("key", ["A=B", "A\0", "="])
def test_a_name_that_is_no_variables_name_is_refused(key: str) -> None:
    with pytest.raises(RefusedError, match="cannot become an environment variable"):
        parameters.split((Parameter(key, 1, init=True),), {})


def test_a_value_with_a_nul_is_refused_wherever_it_comes_from() -> None:
    with pytest.raises(RefusedError, match="without the character NUL"):
        parameters.split((Parameter("A", 1, init=True),), {"A": "x\0y"})
