"""What goes wrong when the old function has gone: the new one is loaded, or the container is good for removal."""

from __future__ import annotations

import fcntl
import os
import signal
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.runtime.containers import Container, Exchange, await_end, zipped
from tests.runtime.successions import HANDLER, MARK, Packed, archive, become, how, plan_between, start

pytestmark = pytest.mark.system


class Held:
    """A transformation that is under way, and stands still: the lock of the store is ours.

    The old worker is dead, the executor has agreed, and waits for the lock to begin with the target's weights.
    """

    def __init__(self, container: Container, code: bytes, plan: bytes) -> None:
        worker = container.processes()["worker"]
        self._lock = os.open(container.root / "store" / "lock", os.O_RDWR)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._pool = ThreadPoolExecutor(8)
        self._container = container
        self.answer = self._pool.submit(become, container, code, plan)
        await_end(worker)
        assert not self.answer.done()

    def run(self) -> Future[Exchange]:
        return self._pool.submit(self._container.run, {})

    def go_on(self) -> Exchange:
        self.release()
        return self.answer.result()

    def release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def close(self) -> None:
        self.release()
        self._pool.shutdown()


@pytest.fixture
def held(given: Container, packed: dict[str, Packed]) -> Iterator[Held]:
    start(given, archive("old", packed["one"].folder))
    assert packed["one"].answered(given.run())
    wanted = packed["three"].folder
    held = Held(given, archive("new", wanted), plan_between(packed["one"].folder, wanted))
    yield held
    held.close()


def test_an_executor_that_is_killed_in_the_middle_is_replaced_and_the_new_one_loads(
    given: Container, held: Held, packed: dict[str, Packed]
) -> None:
    executor = given.processes()["executor"]
    os.kill(executor, signal.SIGKILL)
    await_end(executor)
    answer = held.go_on()
    assert how(answer) == ("loaded", None) and "ended while it transformed" in answer.json["instar"]["why"]
    assert packed["three"].answered(given.run())


@pytest.mark.parametrize("victim", ["zygote", "proxy"])
def test_a_container_whose_zygote_or_proxy_is_killed_in_the_middle_ends(
    given: Container, held: Held, victim: str
) -> None:
    pids = list(given.processes().values())
    os.kill(given.processes()[victim], signal.SIGKILL)
    given.await_end()
    for pid in pids:
        await_end(pid)
    held.release()
    error = held.answer.exception()
    # A proxy that sees the zygote's socket close before it sees the zygote's end still says so.
    assert isinstance(error, OSError) or (victim == "zygote" and held.answer.result().status == 503), error


def test_a_run_that_comes_in_the_middle_finds_no_function(
    given: Container, held: Held, packed: dict[str, Packed]
) -> None:
    answer = held.run().result()
    assert (answer.status, answer.json) == (500, {"error": "no action defined yet"})
    assert how(held.go_on()) == ("transformed", "three")
    assert packed["three"].answered(given.run())


@pytest.mark.parametrize(
    "source, says",
    [
        ("raise ValueError('at import')\n", "at import"),
        ("def main(:\n", "SyntaxError"),
        ("import os; os._exit(3)", ""),
    ],
)
def test_a_handler_that_cannot_be_imported_is_an_error_with_sentinels_and_the_container_good_for_removal(
    given: Container, packed: dict[str, Packed], tmp_path: Path, source: str, says: str
) -> None:
    start(given, archive("old", packed["one"].folder))
    answer = become(given, source, None)
    assert answer.status == 502 and answer.json.keys() == {"error"}
    assert answer.sentinels == (1, 1)
    assert says in answer.err and answer.err.index(MARK) == 0 == answer.out.index(MARK)
    assert given.run().status == 500
    assert become(given, source, None).status == 409
    assert list(given.work.glob("function-*")) == []


def test_weights_that_can_never_be_had_are_an_error_of_each_call_as_after_init(
    given: Container, packed: dict[str, Packed]
) -> None:
    one, three = packed["one"].folder, packed["three"].folder
    start(given, archive("old", one))
    code = zipped({"__main__.py": HANDLER.format(name="new"), "m/model.json": (three / "model.json").read_bytes()})
    answer = become(given, code, plan_between(one, three))  # there are no weights beside it, and nowhere else
    assert how(answer) == ("transformed", "m")
    for _ in range(2):
        assert "model.safetensors" in given.run().json["error"]
