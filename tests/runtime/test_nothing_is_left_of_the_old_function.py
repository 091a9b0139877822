"""When a container has become another function nothing is left of the one before, and their logs are told apart."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from tests.runtime.containers import Container, await_end
from tests.runtime.successions import MARK, OWNED, Packed, archive, become, how, plan_between, start

pytestmark = pytest.mark.system

TALK = """threading.Thread(
    target=lambda: [print('old', n, file=to) for n in iter(int, 1) for to in (sys.stdout, sys.stderr)], daemon=True
).start()"""


def test_of_the_old_function_no_process_file_or_variable_is_left(given: Container, packed: dict[str, Packed]) -> None:
    one, two = packed["one"].folder, packed["two"].folder
    start(given, archive("old", one), {**OWNED, "SECRET": "s"})
    leave = "[os.path.realpath('.'), __import__('subprocess').Popen(['sleep', '900'], start_new_session=True).pid]"
    directory, sleeper = given.run({"do": leave}).json["value"]
    worker = given.processes()["worker"]
    assert how(become(given, archive("new", two), plan_between(one, two)))[0] == "transformed"
    for pid in (worker, sleeper):
        await_end(pid)
    assert not Path(directory).exists() and not Path(directory).parent.exists()
    told = given.run({"do": "[os.environ.get('SECRET'), os.getcwd(), sorted(os.listdir())]"}).json["value"]
    assert told[0] is None and told[1] != directory
    assert {"__main__.py", "two"} <= set(told[2]) and "one" not in told[2]


def test_the_mark_stands_between_the_two_functions_lines(given: Container, packed: dict[str, Packed]) -> None:
    one, two = packed["one"].folder, packed["two"].folder
    start(given, archive("old", one))
    assert given.run({"do": TALK}).status == 200
    deadline_s = time.monotonic() + 60
    while not all(text.count("old ") > 1 for text in given.printed()):
        assert time.monotonic() < deadline_s, "it says nothing"
        time.sleep(0.01)
    assert how(become(given, archive("new", two), plan_between(one, two)))[0] == "transformed"
    for stream in given.printed():
        lines = stream.splitlines()
        assert lines.count(MARK) == 1
        before, after = lines[: lines.index(MARK)], lines[lines.index(MARK) + 1 :]
        assert len([line for line in before if line.startswith("old")]) > 1
        assert after == ["new is imported"]


def test_what_the_old_models_have_cost_is_not_told_as_the_new_ones(
    given: Container, packed: dict[str, Packed]
) -> None:
    one, three = packed["one"].folder, packed["three"].folder
    start(given, archive("old", one))  # and nobody asks what that has cost
    assert how(become(given, archive("new", three), plan_between(one, three)))[0] == "transformed"
    answer = given.run()
    assert packed["three"].answered(answer)
    size = os.stat(three / "model.safetensors").st_size
    assert f'"fetchedBytes": {size},' in answer.headers["X-Instar-Weights"]
