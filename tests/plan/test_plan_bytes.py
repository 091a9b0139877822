"""A plan's bytes: one text for one plan, and nothing else is taken for one."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings

from instar.errors import PlanError
from instar.package import Package
from instar.plan import plans
from tests.plan.strategies import pairs
from tests.plan.test_replay_arrives import planned
from tests.plan.test_replay_refuses import SOURCE, TARGET

DATA = plans.encode(planned(SOURCE, TARGET))


@settings(deadline=None)
@given(pairs())
def test_a_plan_survives_being_sent(pair: tuple[Package, Package]) -> None:
    plan = planned(*pair)
    data = plans.encode(plan)
    assert plans.decode(data) == plan
    assert json.dumps(json.loads(data), separators=(",", ":")).encode() == data


def changed(**fields: Any) -> bytes:
    return json.dumps(json.loads(DATA) | fields, separators=(",", ":")).encode()


def with_step(number: int, step: Any) -> bytes:
    steps = json.loads(DATA)["steps"]
    steps[number] = step
    return changed(steps=steps)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"[]", "an object with the fields"),
        (DATA[:-1] + b',"more":1}', "an object with the fields"),
        (DATA.replace(b'"format"', b'"format":0,"format"', 1), "not written as"),
        (DATA.replace(b",", b", ", 1), "not written as"),
        (DATA + b" ", "not written as"),
        (changed(version=2), "version 2; this Instar reads .* make the plan again"),
        (changed(format="other"), "'other' of version 1"),
        (changed(source="AB"), "source is 'AB', not a digest"),
        (changed(target_graph=None), "target_graph is 'None', not a digest"),
        (changed(estimate=[1]), "the estimate has .* a list of 2 items"),
        (changed(estimate=[1, -1]), "-1 where a whole number"),
        (changed(estimate=[1, 1.5]), "1.5 where a whole number"),
        (changed(estimate=[1, True]), "True where a whole number"),
        (changed(estimate=[1, 2**63]), "where a whole number"),
        (changed(operators={}), "operators has"),
        (changed(operators=["x" * 2000]), "not the name of an operator"),
        (changed(operators=[*json.loads(DATA)["operators"], "spare"]), "not written as"),
        (changed(forms=[["op", [], {}]]), "a form has .* a list of 4 items"),
        (changed(forms=[["op", {}, {}, "int"]]), "a form is a list of"),
        (changed(forms=[["op", [[[1]]], {}, "int"]]), "neither plain nor a plain list"),
        (changed(forms=[["op", [float("nan")], {}, "int"]]), "no word for"),
        (changed(steps=None), "steps has"),
        (with_step(0, ["=", 0, 0, 0, 0]), "step 0 has .* a list of 5 items"),
        (with_step(0, ["=", 9, 0, 0, 0, 0]), "step 0 asks for entry 9 of a table that has 2"),
        (with_step(1, ["+", 9, 0, 0, 0]), "step 1 asks for entry 9 of a table that has 1"),
        (with_step(1, ["?", 0]), "step 1 is .* no step"),
        (with_step(1, {}), "step 1 is .* no step"),
        (with_step(4, [">", 2, [[], [], []]]), "step 4 has .* a list of 5 items"),
        (with_step(4, [">", 2, [[3], [], [], [], []]]), "step 4 has 3 where a text belongs"),
        (with_step(4, [">", 2, [[], [], ["a"], [], []]]), "step 4 has a where a whole number"),
    ],
)
def test_what_is_no_plan_is_refused(data: bytes, message: str) -> None:
    with pytest.raises(PlanError, match=message):
        plans.decode(data)


def test_too_many_bytes_are_not_read() -> None:
    with pytest.raises(PlanError, match="at most 16777216 are read: load the model instead"):
        plans.decode(b" " * (plans.MAX_BYTES + 1))


@pytest.mark.parametrize("depth", [10, 300, 600, 900, 1500])
def test_deep_nesting_is_refused_wherever_it_stands(depth: int) -> None:
    nest = "[" * depth + "]" * depth
    for field in json.loads(DATA):
        document = DATA.decode().replace(json.dumps(json.loads(DATA)[field], separators=(",", ":")), nest, 1)
        for text in (
            document,
            document.replace(nest, f"[{nest}]"),
            document.replace(nest, f'[["op",[{nest}],{{}},""]]'),
        ):
            with pytest.raises(PlanError):
                plans.decode(text.encode())
