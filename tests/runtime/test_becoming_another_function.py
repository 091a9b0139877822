"""A container becomes another function: it is that one in every respect, and nothing of the old one is left."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runtime.containers import Container, await_end
from tests.runtime.successions import (
    ELSEWHERE,
    GIVEN,
    OWNED,
    Packed,
    archive,
    become,
    how,
    plan_between,
    start,
)

pytestmark = pytest.mark.system

PLAIN = "import os, sys\nprint('plain')\ndef main(args):\n    return {'value': eval(args['do'])}\n"


@pytest.mark.parametrize("target", ["two", "three"])
def test_a_live_model_becomes_the_new_functions(given: Container, packed: dict[str, Packed], target: str) -> None:
    source, wanted = packed["one"], packed[target]
    start(given, archive("old", source.folder))
    assert source.answered(given.run())
    executor = given.processes()["executor"]
    answer = become(given, archive("new", wanted.folder), plan_between(source.folder, wanted.folder))
    assert how(answer) == ("transformed", target)
    assert answer.json["instar"]["ms"].keys() >= {"unpack", "agree", "bury", "transform", "fork", "start", "total"}
    assert given.processes()["executor"] == executor
    for seed in (1, 2):
        assert wanted.answered(given.run({"seed": seed}), seed)
    back = become(given, archive("old", source.folder), plan_between(wanted.folder, source.folder))
    assert how(back) == ("transformed", "one")
    assert source.answered(given.run())


def test_without_a_plan_the_container_loads(given: Container, packed: dict[str, Packed]) -> None:
    start(given, archive("old", packed["one"].folder))
    assert how(become(given, archive("new", packed["three"].folder), None)) == ("loaded", None)
    assert packed["three"].answered(given.run())


def test_another_owners_container_has_another_executor(given: Container, packed: dict[str, Packed]) -> None:
    one, two = packed["one"].folder, packed["two"].folder
    start(given, archive("old", one))
    executor = given.processes()["executor"]
    answer = become(given, archive("new", two), plan_between(one, two), environ=ELSEWHERE)
    assert how(answer) == ("loaded", None) and "another owner's" in answer.json["instar"]["why"]
    await_end(executor)
    assert packed["two"].answered(given.run())


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"__OW_NAMESPACE": "guest"},
        {"__OW_NAMESPACE": "guest", "__OW_ACTION_NAME": "/other/act"},
        {"__OW_NAMESPACE": "other", "__OW_ACTION_NAME": "/guest/act"},
    ],
    ids=["unknown", "half", "action", "caller"],
)
def test_an_owner_is_the_caller_and_the_actions_namespace_and_nobody_is_not_one(
    given: Container, packed: dict[str, Packed], environ: dict[str, str]
) -> None:
    one, two = packed["one"].folder, packed["two"].folder
    start(given, archive("old", one), environ)
    other = OWNED if environ else {}
    assert how(become(given, archive("new", two), plan_between(one, two), environ=other)) == ("loaded", None)


def test_of_several_models_one_is_transformed_and_the_others_are_loaded(
    given: Container, packed: dict[str, Packed]
) -> None:
    one, two, three = (packed[name].folder for name in ("one", "two", "three"))
    start(given, archive("old", one, three))
    assert packed["three"].answered(given.run({"model": "three"}))
    assert how(become(given, archive("new", two, three), plan_between(one, two))) == ("transformed", "two")
    for name in ("three", "two"):
        assert packed[name].answered(given.run({"model": name}))
    assert "it has three, two" in given.run({"model": "one"}).json["error"]


def test_a_function_without_a_model_becomes_one_with_and_back(given: Container, packed: dict[str, Packed]) -> None:
    start(given, PLAIN)
    assert how(become(given, archive("new", packed["one"].folder), None)) == ("loaded", None)
    assert packed["one"].answered(given.run())
    assert how(become(given, PLAIN, None)) == ("loaded", None)
    assert given.run({"do": "'alive'"}).json == {"value": "alive"}


@pytest.fixture
def concurrent(tmp_path: Path) -> Iterator[Container]:
    container = Container(tmp_path / "concurrent", environ={**GIVEN, "__OW_ALLOW_CONCURRENT": "true"})
    yield container
    container.close()


def test_where_several_runs_are_allowed_the_new_function_has_as_many_slots(
    concurrent: Container, packed: dict[str, Packed]
) -> None:
    container = concurrent
    one, two = packed["one"], packed["two"]
    start(container, archive("old", one.folder))
    meet = "threading.Barrier(3)"
    for packed_, name, plan in ((one, "one", None), (two, "two", plan_between(one.folder, two.folder))):
        if plan is not None:
            assert how(become(container, archive("new", two.folder), plan)) == ("transformed", name)
        assert container.run({"do": f"globals().update(together={meet}) or 'set'"}).json == {"value": "set"}
        with ThreadPoolExecutor(3) as pool:
            runs = [pool.submit(container.run, {"do": "together.wait(30) >= 0"}) for _ in range(3)]
            assert [run.result().json for run in runs] == [{"value": True}] * 3
        assert packed_.answered(container.run())
