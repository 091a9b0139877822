"""Weights that stall, break off or are wrong, and processes that die while they are waited for.

It is one clear error of the run that needed them, and the next run tries afresh.
"""

from __future__ import annotations

import fcntl
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runtime.arriving import SOON_S, Caller, archive, await_ask, digest, init, is_bit_equal, told, weights_of
from tests.runtime.conftest import Start
from tests.runtime.containers import Container, await_end, zipped
from tests.runtime.modules import Deep
from tests.runtime.source import Source

pytestmark = pytest.mark.system

MIB = 1 << 20
DEADLINE_S = 4  # a machine that stands still for a moment brings no byte either


def await_no_locks(path: Path) -> None:
    """Return when nobody holds a lock on a file, be it on all of it or on bytes."""
    with path.open("r+b" if path.name == "asks" else "rb") as file, ThreadPoolExecutor(1) as pool:
        take = fcntl.lockf if path.name == "asks" else fcntl.flock
        pool.submit(take, file, fcntl.LOCK_EX).result(SOON_S)


def await_place(path: Path) -> None:
    """Return when a file that came in a moment ago has been given its place in the store."""
    deadline = time.monotonic() + SOON_S
    while not path.exists():
        assert time.monotonic() < deadline, f"{path.name} does not come"
        time.sleep(0.01)


def mapped(container: Container, digest: str) -> bool:
    """Whether the executor has these weights in its memory."""
    lines = Path(f"/proc/{container.processes()['executor']}/maps").read_text().splitlines()
    return any(line.endswith(digest) for line in lines)  # and not the map beside a file on its way


def test_a_source_that_stalls_beyond_the_deadline_is_an_error_of_the_run(
    start: Start, folder: Path, modules: dict[str, Deep], source: Source
) -> None:
    container = start("--fetch-deadline-s", str(DEADLINE_S))
    source.hold(weights_of("one"), 2 * MIB)
    assert init(container, archive(folder, source.url, "one"), "one").status == 200
    answer = container.run({"model": "one"})
    assert answer.status == 200 and list(answer.json) == ["error"], answer
    assert "no byte of weights" in answer.json["error"] and "SourceError" in answer.err
    assert answer.sentinels == (1, 1)
    said = told(answer)
    assert said is not None and said["waitedMs"] >= 900 * DEADLINE_S
    source.release(weights_of("one"))
    assert is_bit_equal(container.run({"model": "one"}), modules["one"])


def test_a_chunk_that_is_not_what_was_packed_is_an_error_of_the_run(
    container: Container, folder: Path, modules: dict[str, Deep], source: Source
) -> None:
    source.change(weights_of("one"), 5 * MIB + 77)
    assert init(container, archive(folder, source.url, "one"), "one").status == 200
    for _ in range(2):
        answer = container.run({"model": "one"})
        assert answer.status == 200 and list(answer.json) == ["error"], answer
        assert "DigestError" in answer.err and "damaged" in answer.json["error"]
    source.change(weights_of("one"), None)
    assert is_bit_equal(container.run({"model": "one"}), modules["one"])
    assert told(container.run({"model": "one"})) is None


def test_a_source_that_breaks_off_again_and_again_is_an_error_of_the_run(
    container: Container, folder: Path, modules: dict[str, Deep], source: Source
) -> None:
    source.cut(weights_of("one"), 3 * MIB)
    assert init(container, archive(folder, source.url, "one"), "one").status == 200
    answer = container.run({"model": "one"})
    assert answer.status == 200 and "SourceError" in answer.err and "cannot read weights" in answer.json["error"]
    source.cut(weights_of("one"), None)
    again = container.run({"model": "one"})
    assert is_bit_equal(again, modules["one"])
    said = told(again)
    assert said is not None and said["presentBytes"] >= MIB  # what had come was kept


def test_weights_that_are_nowhere_are_an_error_of_the_run(container: Container, folder: Path, source: Source) -> None:
    assert init(container, archive(folder, f"{source.url}/nowhere", "one"), "one").status == 200
    answer = container.run({"model": "one"})
    assert answer.status == 200 and "404" in answer.json["error"], answer


def test_an_executor_that_dies_while_weights_arrive_costs_one_run(
    container: Container, folder: Path, modules: dict[str, Deep], source: Source, caller: Caller
) -> None:
    source.hold(weights_of("one"), 4 * MIB)
    assert init(container, archive(folder, source.url, "one"), "one").status == 200
    lost = caller.run(model="one")
    await_ask(container.root / "store", digest(folder, "one"))
    executor = container.processes()["executor"]
    os.kill(executor, signal.SIGKILL)
    await_end(executor)
    assert "ended during this call" in lost.result().json["error"]
    source.release(weights_of("one"))
    again = container.run({"model": "one"})
    assert is_bit_equal(again, modules["one"])
    assert source.given_bytes < 2 * (folder / weights_of("one")).stat().st_size  # what had come was kept


def test_a_worker_that_dies_while_it_waits_leaves_an_executor_that_does_not(
    container: Container, folder: Path, source: Source, caller: Caller
) -> None:
    source.hold(weights_of("one"))
    assert init(container, archive(folder, source.url, "one"), "one").status == 200
    lost = caller.run(model="one")
    await_ask(container.root / "store", digest(folder, "one"))
    os.kill(container.processes()["worker"], signal.SIGKILL)
    found = lost.result()
    assert (found.status, found.json) == (400, {"error": "command exited"})
    assert container.run({"model": "one"}).json == {"error": "no action defined yet"}
    await_no_locks(container.root / "store" / "asks")


def test_a_call_that_waits_does_not_keep_the_next_function_out(
    container: Container, folder: Path, modules: dict[str, Deep], source: Source
) -> None:
    """The first function calls its model while it is imported, is interrupted, and fails; its weights never come."""
    first = """
import signal, torch, instar
def enough(*_):
    raise ValueError('it takes too long')
signal.signal(signal.SIGALRM, enough)
signal.setitimer(signal.ITIMER_REAL, 0.5)
instar.model('one')(torch.zeros(1, 512))
"""
    source.hold(weights_of("one"))
    failed = container.init(archive(folder, source.url, "one", main=first))
    assert failed.status == 502 and "it takes too long" in failed.err
    assert init(container, archive(folder, source.url, "two"), "two").status == 200
    assert is_bit_equal(container.run({"model": "two"}), modules["two"])
    assert mapped(container, digest(folder, "two")) and not mapped(container, digest(folder, "one"))


def test_a_function_that_has_gone_holds_no_weights(
    container: Container, folder: Path, modules: dict[str, Deep], source: Source
) -> None:
    assert init(container, archive(folder, source.url, "one"), "one").status == 200
    assert is_bit_equal(container.run({"model": "one"}), modules["one"])
    assert mapped(container, digest(folder, "one"))
    place = container.root / "store" / "weights" / digest(folder, "one")
    await_place(place)
    os.kill(container.processes()["worker"], signal.SIGKILL)
    await_no_locks(place)
    assert not mapped(container, digest(folder, "one"))


def test_a_store_that_cannot_take_weights_fails_the_init_and_says_so(
    start: Start, folder: Path, source: Source
) -> None:
    container = start(environ={"INSTAR_STORE": "/dev/null/store"})
    answer = container.init(archive(folder, source.url, "one"), env={"MODELS": "one"})
    assert answer.status == 502 and "INSTAR_STORE" in answer.err
    assert container.init(zipped({"__main__.py": "def main(args):\n    return {}\n"})).status == 200
