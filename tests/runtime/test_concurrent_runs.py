"""A container that allows concurrency: its runs overlap, and each is answered as if it were alone."""

from __future__ import annotations

import http.client
import os
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from instar.action.frames import SLOTS
from tests.runtime.conftest import Start
from tests.runtime.containers import SENTINEL, Container, Exchange

pytestmark = pytest.mark.system

ALLOWED = {"__OW_ALLOW_CONCURRENT": "true"}

# One function for every behaviour: what it does is in its argument. `meet` returns whether so many runs of this
# name came together before the time was over.
OBEDIENT = """
import asyncio, ctypes, os, random, subprocess, sys, threading
GATES = {}
def gate(name, parties):
    return GATES.setdefault(name, threading.Barrier(parties))
def meet(name, parties, timeout_s=30):
    try:
        gate(name, parties).wait(timeout_s)
        return {'met': True}
    except threading.BrokenBarrierError:
        return {'met': False}
EVENTS = {}
def event(name):
    return EVENTS.setdefault(name, threading.Event())
def main(args):
    return eval(args['do'], globals(), args)
"""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """A container for the tests whose runs it survives."""
    container = Container(tmp_path_factory.mktemp("shared"), environ=ALLOWED)
    assert container.init(OBEDIENT).status == 200
    yield container
    container.close()


@pytest.fixture
def own(start: Start) -> Container:
    """A container of the test's own."""
    container = start(environ=ALLOWED)
    assert container.init(OBEDIENT).status == 200
    return container


def together(container: Container, *expressions: str) -> list[Exchange]:
    """Send all of these at once; the answers in their order."""
    with ThreadPoolExecutor(len(expressions)) as pool:
        return list(pool.map(lambda do: container.run({"do": do}), expressions))


def sentinels(container: Container) -> tuple[int, int]:
    """Lines of either log that are a sentinel and nothing else; there may be no other mention of it."""
    counts = []
    for text in container.printed():
        assert text.count(SENTINEL) == text.splitlines().count(SENTINEL)
        counts.append(text.count(SENTINEL))
    return counts[0], counts[1]


@pytest.mark.parametrize("runs", [2, 4, SLOTS])
def test_runs_are_in_the_function_together(shared: Container, runs: int) -> None:
    answers = together(shared, *[f"meet('{runs}', {runs})"] * runs)
    assert [answer.json for answer in answers] == [{"met": True}] * runs


@pytest.mark.parametrize("environ", [{}, {"__OW_ALLOW_CONCURRENT": "false"}])
def test_runs_never_meet_where_concurrency_is_not_allowed(start: Start, environ: dict[str, str]) -> None:
    container = start(environ=environ)
    assert container.init(OBEDIENT).status == 200
    answers = together(container, *["meet('two', 2, 0.3)"] * 2)
    assert [answer.json for answer in answers] == [{"met": False}] * 2


def test_more_runs_than_that_wait(shared: Container) -> None:
    """As many as there are slots wait for one more in vain: it is not let in before one of them leaves."""
    crowd = [f"meet('crowd', {SLOTS + 1}, 0.5)"] * (SLOTS + 1)
    assert [answer.json for answer in together(shared, *crowd)] == [{"met": False}] * (SLOTS + 1)


def test_every_caller_gets_its_own_answer(own: Container) -> None:
    """Results, exceptions, refusals and large answers, mixed; whose it is stands in each."""
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    kinds: dict[str, tuple[str, int, Any]] = {
        "result": ("print('run', n) or {'n': n}", 200, lambda n: {"n": n}),
        "list": ("[n]", 200, lambda n: [n]),
        "large": ("{'n': n, 't': str(n) * 100_000}", 200, lambda n: {"n": n, "t": str(n) * 100_000}),
        "exception": ("[][n]", 200, lambda n: {"error": "list index out of range"}),
        "own exception": ("exec('raise ValueError(%d)' % n)", 200, lambda n: {"error": str(n)}),
        "no result": ("n", 502, lambda n: {"error": "The action did not return a dictionary or array."}),
        "coroutine": (
            "asyncio.sleep(n)",
            502,
            lambda n: {"error": "The action's function is async; define it with def and call asyncio.run in it."},
        ),
        "own loop": ("asyncio.run(asyncio.sleep(0, {'n': n}))", 200, lambda n: {"n": n}),
        "child": (
            "{'n': int(subprocess.run(['echo', str(n)], capture_output=True).stdout)}",
            200,
            lambda n: {"n": n},
        ),
        "slow": ("threading.Event().wait(0.02) or {'n': n}", 200, lambda n: {"n": n}),
    }
    runs = [(number, draw.choice(list(kinds))) for number in range(240)]
    before = sentinels(own)

    def run(one: tuple[int, str]) -> None:
        number, kind = one
        do, status, body = kinds[kind]
        answer = own.run({"do": do, "n": number})
        assert (answer.status, answer.json) == (status, body(number)), kind

    with ThreadPoolExecutor(SLOTS) as pool:
        list(pool.map(run, runs))
    assert sentinels(own) == (before[0] + 240, before[1] + 240)
    printed = [line for line in own.printed()[0].splitlines() if line.startswith("run ")]
    assert sorted(printed) == sorted(f"run {number}" for number, kind in runs if kind == "result")


def test_sentinels_are_whole_lines_whatever_the_others_print(own: Container) -> None:
    """Open lines, flushed ones and long ones from sixteen callers at once."""
    texts = ["sys.stdout.write('open') and sys.stdout.flush()", "print('x' * 3000)", "sys.stderr.write('open')"]
    with ThreadPoolExecutor(SLOTS) as pool:
        answers = pool.map(lambda n: own.run({"do": f"[({texts[n % 3]}) and None for _ in range(20)]"}), range(160))
        assert all(answer.status == 200 for answer in answers)
    assert sentinels(own) == (160, 160)


DEATHS = {
    "exits at once": "os._exit(3)",
    "leaves": "sys.exit()",
    "is killed": "os.kill(os.getpid(), 9)",
    "crashes": "ctypes.string_at(0)",
    "is interrupted": "exec('raise KeyboardInterrupt')",
}


@pytest.mark.parametrize("death", DEATHS)
def test_a_run_that_ends_the_process_ends_all_runs_under_way(own: Container, death: str) -> None:
    waiting = "meet('all', 8) and event('never').wait()"
    answers = together(own, *[waiting] * 7, f"meet('all', 8) and {DEATHS[death]}")
    assert [(answer.status, answer.json) for answer in answers] == [(400, {"error": "command exited"})] * 8
    assert sentinels(own) == (8, 8)
    for _ in range(2):
        assert (own.run().status, own.run().json) == (500, {"error": "no action defined yet"})
    assert own.init(OBEDIENT).status == 403
    assert sentinels(own) == (8, 8)
    assert set(own.processes()) == {"master", "proxy", "zygote", "executor"}


def test_runs_that_waited_for_a_slot_are_answered_when_the_process_ends(own: Container) -> None:
    """More callers than slots; all of them hear of the end, each in one of the ways that a run can meet it."""
    expressions = [f"meet('all', {SLOTS}) and os._exit(1)"] * (SLOTS + 8)
    answers = together(own, *expressions)
    met = [answer for answer in answers if answer.status == 400]
    assert [answer.json for answer in met] == [{"error": "command exited"}] * SLOTS
    others = [(answer.status, answer.json["error"]) for answer in answers if answer.status != 400]
    assert len(others) == 8
    assert set(others) <= {(500, "no action defined yet"), (500, "command exited")}
    assert sentinels(own) == (SLOTS, SLOTS)


def test_a_caller_that_goes_away_takes_nothing_with_it(own: Container) -> None:
    """Its run goes on, others overlap with it, and its slot comes back."""
    with pytest.raises(TimeoutError):
        own.run({"do": "event('left').wait() and {'abandoned': True}"}, timeout_s=0.3)
    answers = together(own, *["meet('rest', 15)"] * (SLOTS - 1))
    assert all(answer.json == {"met": True} for answer in answers)
    assert own.run({"do": "event('left').set() or {'mine': True}"}).json == {"mine": True}
    answers = together(own, *[f"meet('again', {SLOTS})"] * SLOTS)
    assert all(answer.json == {"met": True} for answer in answers)
    assert sentinels(own) == (2 * SLOTS + 1, 2 * SLOTS + 1)


@pytest.mark.parametrize("environ", [{}, ALLOWED], ids=["one at a time", "concurrent"])
def test_an_init_during_a_run_is_refused_at_once(start: Start, environ: dict[str, str]) -> None:
    container = start(environ=environ)
    assert container.init(OBEDIENT).status == 200
    inside, outside = container.root / "inside", container.root / "outside"
    for pipe in (inside, outside):
        os.mkfifo(pipe)  # to open it waits for the other side
    with ThreadPoolExecutor(1) as pool:
        do = f"open({str(inside)!r}, 'w').close() or [open({str(outside)!r}).read()]"
        run = pool.submit(container.run, {"do": do})
        inside.read_text()
        refused = container.init(OBEDIENT)
        assert (refused.status, refused.json) == (403, {"error": "Cannot initialize the action more than once."})
        assert not run.done()
        outside.write_text("go on")
        assert run.result().json == ["go on"]


def test_a_worker_has_a_thread_more_than_there_were_runs_at_once(own: Container) -> None:
    count = "{'threads': [thread.name for thread in threading.enumerate()].count('instar-slot')}"
    assert own.run({"do": count}).json == own.run({"do": count}).json == {"threads": 1}
    together(own, *["meet('three', 3)"] * 3)
    assert own.run({"do": count}).json == {"threads": 3}


def test_a_child_that_a_run_forks_does_not_answer(shared: Container) -> None:
    do = "(lambda pid: os.waitpid(pid, 0) and {'parent': True} if pid else {'child': True})(os.fork())"
    for answer in together(shared, *[do] * 8):
        assert answer.json == {"parent": True}


@pytest.mark.parametrize("environ", [{}, ALLOWED], ids=["one at a time", "concurrent"])
def test_slow_senders_hold_no_run_up(start: Start, environ: dict[str, str]) -> None:
    """Forty callers send half of a body and stop; others are served meanwhile."""
    container = start(environ=environ)
    assert container.init("def main(args):\n    return args\n").status == 200
    slow = [http.client.HTTPConnection("127.0.0.1", container.port, timeout=60) for _ in range(40)]
    body = b'{"value": {"slow": true}}'
    for connection in slow:
        connection.putrequest("POST", "/run")
        connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body[:5])
    assert container.run({"quick": True}).json == {"quick": True}
    for connection in slow:
        connection.send(body[5:])
        assert connection.getresponse().read() == b'{"slow": true}\n'
        connection.close()


def test_a_run_that_is_alone_is_in_the_main_thread(shared: Container) -> None:
    do = "{'main': threading.current_thread() is threading.main_thread()}"
    together(shared, *["meet('five', 5)"] * 5)
    assert [shared.run({"do": do}).json for _ in range(5)] == [{"main": True}] * 5
