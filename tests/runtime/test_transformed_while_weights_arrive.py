"""A model that others became answers while its weights arrive, as one that was loaded does; and one in use stays."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runtime import arriving
from tests.runtime.arriving import await_ask, digest, is_bit_equal, told, weights_of
from tests.runtime.containers import Container
from tests.runtime.modules import Deep
from tests.runtime.source import Source
from tests.runtime.successions import OWNED, Packed, archive, become, how, plan_between, start

pytestmark = pytest.mark.system

# Calls the model in the background, beyond the end of the run.
BACKGROUND = """
import threading, torch, instar
model = instar.model()
def main(args):
    threading.Thread(target=model, args=(torch.zeros(3, 512),), daemon=True).start()
    return {}
"""


def sent(folder: Path, source: Source, name: str, main: str = arriving.HANDLER) -> bytes:
    return arriving.archive(folder, source.url, name, main=main)


def test_it_answers_as_soon_as_its_weights_are_there(
    given: Container, packed: dict[str, Packed], folder: Path, modules: dict[str, Deep], source: Source
) -> None:
    start(given, archive("old", packed["one"].folder))
    assert packed["one"].answered(given.run())
    source.hold(weights_of("two"), 1 << 20)
    plan = plan_between(packed["one"].folder, folder / "two")
    answer = become(given, sent(folder, source, "two"), plan, environ={**OWNED, "MODELS": "two"})
    assert how(answer) == ("transformed", "two")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(given.run, {"model": "two"})
        await_ask(given.root / "store", digest(folder, "two"))
        assert not running.done()
        source.release(weights_of("two"))
        found = running.result()
    assert is_bit_equal(found, modules["two"])
    size = (folder / weights_of("two")).stat().st_size
    said = told(found)
    assert said is not None and said["fetchedBytes"] == size and said["waitedMs"] > 0
    assert is_bit_equal(given.run({"model": "two", "seed": 4}), modules["two"], seed=4)


def test_a_model_that_is_called_meanwhile_stays_what_it_is(
    given: Container,
    packed: dict[str, Packed],
    folder: Path,
    modules: dict[str, Deep],
    source: Source,
) -> None:
    source.hold(weights_of("two"))
    start(given, sent(folder, source, "two", BACKGROUND))
    assert given.run().status == 200
    await_ask(given.root / "store", digest(folder, "two"))
    one = packed["one"].folder
    answer = become(given, archive("new", one), plan_between(folder / "two", one))
    assert answer.status == 409 and "in use" in answer.json["error"]
    source.release(weights_of("two"))
    assert given.run().status == 200


def test_weights_that_do_not_arrive_are_let_go_of(
    given: Container, packed: dict[str, Packed], folder: Path, modules: dict[str, Deep], source: Source
) -> None:
    """The source's own weights are still on their way when it becomes another model."""
    source.hold(weights_of("two"), 1 << 20)
    start(given, sent(folder, source, "two"), {**OWNED, "MODELS": "two"})
    source.await_asked(weights_of("two"))
    one = packed["one"].folder
    answer = become(given, archive("new", one), plan_between(folder / "two", one))
    assert how(answer) == ("transformed", "one")
    assert packed["one"].answered(given.run())
