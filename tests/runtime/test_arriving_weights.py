"""`/init` answers before weights arrive, `/run` while they do, and its header says what that took."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.runtime import arriving
from tests.runtime.arriving import Caller, archive, await_ask, digest, init, is_bit_equal, told, weights_of
from tests.runtime.conftest import Start
from tests.runtime.containers import Container, zipped
from tests.runtime.modules import Deep
from tests.runtime.source import Source
from tests.weights import in_memory

pytestmark = pytest.mark.system


def size(folder: Path, name: str) -> int:
    return (folder / weights_of(name)).stat().st_size


def test_init_answers_while_no_weight_has_arrived_and_run_once_they_have(
    container: Container, folder: Path, modules: dict[str, Deep], source: Source, caller: Caller
) -> None:
    source.hold(weights_of("one"))
    assert init(container, archive(folder, source.url, "one"), "one").status == 200
    assert source.given_bytes == 0
    answer = caller.run(model="one")
    source.await_asked(weights_of("one"))
    assert not answer.done()
    source.release(weights_of("one"))
    found = answer.result()
    assert is_bit_equal(found, modules["one"])
    assert is_bit_equal(container.run({"model": "one", "seed": 5}), modules["one"], seed=5)
    assert source.given_bytes == size(folder, "one")  # every byte once


def test_the_header_says_what_was_fetched_and_waited_and_only_once(
    container: Container, folder: Path, modules: dict[str, Deep], source: Source, caller: Caller
) -> None:
    source.hold(weights_of("one"), size(folder, "one") - 1)
    assert init(container, archive(folder, source.url, "one"), "one").status == 200
    running = caller.run(model="one")
    await_ask(container.root / "store", digest(folder, "one"))
    source.release(weights_of("one"))
    answer = running.result()
    said = told(answer)
    assert said is not None and is_bit_equal(answer, modules["one"])
    assert said["fetchedBytes"] == size(folder, "one") == source.given_bytes
    assert said["presentBytes"] == 0 and said["waitedMs"] > 0
    assert told(container.run({"model": "one"})) is None


def test_what_lies_in_the_store_is_said_to_be_there(
    start: Start, folder: Path, modules: dict[str, Deep], source: Source, tmp_path: Path
) -> None:
    environ = {"INSTAR_STORE": str(tmp_path / "shared")}
    with contextlib.ExitStack() as stack:
        for fetched, present in ((size(folder, "one"), 0), (0, size(folder, "one"))):
            container = start(environ=environ)
            assert init(container, archive(folder, source.url, "one"), "one").status == 200
            answer = container.run({"model": "one"})
            assert is_bit_equal(answer, modules["one"])
            said = told(answer)
            assert said is not None
            assert (said["fetchedBytes"], said["presentBytes"]) == (fetched, present)
            assert fetched or said["waitedMs"] == 0
            container.close()
            # It has its place, or is still where it came in.
            stack.enter_context(in_memory.kept((tmp_path / "shared").glob(f"*/{digest(folder, 'one')}")))
    assert source.given_bytes == size(folder, "one")


def test_a_run_that_calls_no_model_does_not_wait(container: Container, folder: Path, source: Source) -> None:
    source.hold(weights_of("one"))
    assert init(container, archive(folder, source.url, "one"), "one").status == 200
    answer = container.run({"idle": True})
    assert (answer.json, told(answer)) == ({}, None)


def test_an_action_without_a_model_has_no_such_header(container: Container) -> None:
    assert container.init("def main(args):\n    return {'X-Instar-Weights': 1}\n").status == 200
    assert told(container.run({})) is None


def test_of_two_models_the_one_that_does_not_stall_answers(
    container: Container, folder: Path, modules: dict[str, Deep], source: Source, caller: Caller
) -> None:
    source.hold(weights_of("one"))
    assert init(container, archive(folder, source.url, "one", "two"), "one", "two").status == 200
    assert is_bit_equal(container.run({"model": "two"}), modules["two"])
    late = caller.run(model="one")
    source.release(weights_of("one"))
    assert is_bit_equal(late.result(), modules["one"])


def test_a_package_named_by_url_is_called_while_its_weights_arrive(
    container: Container, folder: Path, modules: dict[str, Deep], source: Source, caller: Caller
) -> None:
    source.hold(weights_of("two"))
    environ = {"MODELS": "two", "INSTAR_MODEL": f"{source.url}/two"}
    assert container.init(zipped({"__main__.py": arriving.HANDLER}), env=environ).status == 200
    answer = caller.run(model="two")
    source.await_asked(weights_of("two"))
    source.release(weights_of("two"))
    assert is_bit_equal(answer.result(), modules["two"])
