"""What is asked of `/transform` in vain touches nothing: the function that there is can be called on."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from instar.plan import plans
from instar.plan.metaops import Edge, Replace
from tests.runtime.containers import Container, zipped
from tests.runtime.successions import (
    TOKEN,
    Packed,
    archive,
    become,
    plan_between,
    start,
    value,
)

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def live(given_spares: Callable[[], Container], packed: dict[str, Packed]) -> Iterator[Container]:
    """A container with a function that calls `one`; each test leaves it as it was."""
    container = given_spares()
    start(container, archive("old", packed["one"].folder))
    yield container
    container.close()


@pytest.fixture
def untouched(live: Container, packed: dict[str, Packed]) -> Iterator[Container]:
    """The same; after the test it has the same processes and files, has written nothing, and is called on."""
    assert packed["one"].answered(live.run())
    before, files, printed = live.processes(), sorted(live.work.iterdir()), live.printed()
    yield live
    assert live.printed() == printed
    assert (live.processes(), sorted(live.work.iterdir())) == (before, files)
    assert packed["one"].answered(live.run())


def refusal(answer: Any) -> tuple[int, str]:
    assert answer.json.keys() == {"error"}, answer
    return answer.status, answer.json["error"]


@pytest.mark.parametrize("token", [None, "", TOKEN[:-1], f"{TOKEN}x", "é"])
def test_without_the_token_nothing_is_looked_at(untouched: Container, token: str | None) -> None:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    for body in (b"", b"{", b"x" * 3_000_000):
        answer = untouched.send("POST", "/transform", body, headers=headers)
        assert refusal(answer)[0] == 401 and answer.headers["WWW-Authenticate"] == "Bearer"


def test_the_token_alone_without_its_scheme_is_none(untouched: Container) -> None:
    assert untouched.send("POST", "/transform", b"{}", headers={"Authorization": TOKEN}).status == 401


def test_a_container_that_was_given_no_token_does_not_know_the_path(container: Container) -> None:
    answers = [
        container.send("POST", path, b"{}", headers={"Authorization": "Bearer "}) for path in ("/transform", "/other")
    ]
    assert [answer.status for answer in answers] == [404, 404]


@pytest.mark.parametrize(
    "body, says",
    [
        (b"", "unexpected end of JSON"),
        (b"[]", "an array, not an object"),
        (b'{"value":{"code":"x"},"plan":[],"mark":"m"}', "plan is an array, not an object"),
        (b'{"value":{"code":"x"},"plan":null}', "the mark is ''"),
        (b'{"value":{"code":"x"},"mark":"two\\nlines"}', "the mark is"),
        (b'{"value":{},"mark":"m"}', "no code to execute"),
        (b'{"value":{"code":"x","env":{"A=B":"c"}},"mark":"m"}', "cannot be an environment variable"),
        (b'{"value":{"code":"?","binary":true},"mark":"m"}', "illegal base64"),
    ],
)
def test_a_malformed_request_is_refused(untouched: Container, body: bytes, says: str) -> None:
    answer = untouched.send("POST", "/transform", body, headers={"Authorization": f"Bearer {TOKEN}"})
    status, text = refusal(answer)
    assert status == 409 and says in text


def test_a_plan_from_something_that_is_not_loaded_is_refused(untouched: Container, packed: dict[str, Packed]) -> None:
    two, three = packed["two"].folder, packed["three"].folder
    status, text = refusal(become(untouched, archive("new", three), plan_between(two, three)))
    assert status == 409 and "not loaded here" in text


def test_a_plan_to_none_of_the_packages_is_refused(untouched: Container, packed: dict[str, Packed]) -> None:
    plan = plan_between(packed["one"].folder, packed["two"].folder)
    for code in (archive("new", packed["three"].folder), archive("new")):
        status, text = refusal(become(untouched, code, plan))
        assert status == 409 and "none of the new function's" in text


def changed(plan: bytes, number: int, step: Callable[[Any], Any]) -> bytes:
    """A plan that is one, with one step changed; its digests stay."""
    found = plans.decode(plan)
    steps = [step(old) if at == number else old for at, old in enumerate(found.steps)]
    return plans.encode(plans.Plan(found.source, found.target, found.source_graph, found.target_graph,
                                   tuple(one for one in steps if one is not None), found.estimate))  # fmt: skip


def rewired(step: Any) -> Any:
    assert isinstance(step, Edge)
    references = (step.wiring.references[0] + 1, *step.wiring.references[1:])
    return step._replace(wiring=type(step.wiring)(
        step.wiring.inputs, step.wiring.symbols, references, step.wiring.outputs, step.wiring.spare))  # fmt: skip


def moved(step: Any) -> Any:
    assert isinstance(step, Replace)
    return step._replace(target=step.target + 1)


@pytest.mark.parametrize(
    "target, number, step", [("two", 0, moved), ("two", 0, lambda _: None), ("three", -1, rewired)]
)
def test_a_plan_that_does_not_replay_is_refused(
    untouched: Container, packed: dict[str, Packed], target: str, number: int, step: Callable[[Any], Any]
) -> None:
    plan = plan_between(packed["one"].folder, packed[target].folder)
    count = len(plans.decode(plan).steps)
    status, text = refusal(
        become(untouched, archive("new", packed[target].folder), changed(plan, number % count, step))
    )
    assert status == 409 and "step" in text


def test_a_plan_that_is_none_is_refused(untouched: Container, packed: dict[str, Packed]) -> None:
    plan = json.loads(plan_between(packed["one"].folder, packed["two"].folder))
    for broken in ({}, {**plan, "version": 2}, {**plan, "steps": [["=", 0, 0]]}, {**plan, "more": 1}):
        code = archive("new", packed["two"].folder)
        status, text = refusal(become(untouched, code, json.dumps(broken).encode()))
        assert status == 409 and ("plan" in text or "step" in text)


@pytest.mark.parametrize("plan", [True, False])
def test_code_that_cannot_be_unpacked_or_has_a_damaged_package_is_refused(
    untouched: Container, packed: dict[str, Packed], plan: bool
) -> None:
    one, two = packed["one"].folder, packed["two"].folder
    steps = plan_between(one, two) if plan else None
    damaged = json.loads((two / "model.json").read_text()) | {"structure": "0" * 64}
    for code, says in (
        (archive("new", two)[:-40], "damaged"),
        (zipped({"other.py": "x"}), "does not include main__"),
        (zipped({"__main__.py": "x", "m/model.json": json.dumps(damaged)}), "states the structure digest"),
    ):
        status, text = refusal(become(untouched, code, steps))
        assert status == 409 and says in text


def test_during_a_run_it_is_refused(live: Container, packed: dict[str, Packed], tmp_path: Path) -> None:
    begun, end = tmp_path / "begun", tmp_path / "end"
    for pipe in (begun, end):
        os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        wait = f"[open({str(begun)!r}, 'w').close(), open({str(end)!r}).read()]"
        running = pool.submit(live.run, {"do": wait})
        begun.read_text()
        plan = plan_between(packed["one"].folder, packed["two"].folder)
        refused = become(live, archive("new", packed["two"].folder), plan)
        end.write_text("on")
        assert running.result().json == {"value": [None, "on"]}
    status, text = refusal(refused)
    assert status == 409 and "a run is under way" in text
    assert packed["one"].answered(live.run())


def test_a_container_without_a_function_takes_init_only(given: Container, packed: dict[str, Packed]) -> None:
    status, text = refusal(become(given, archive("new", packed["one"].folder), None))
    assert status == 409 and "/init" in text
    start(given, archive("new", packed["one"].folder))
    assert given.run({"do": "os._exit(1)"}).status == 400
    assert refusal(become(given, archive("new", packed["one"].folder), None))[0] == 409
    assert given.post("/init", {"value": value("x", {})}).status == 403
