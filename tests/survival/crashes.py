"""One life of a function that comes to harm at a random point, and what must hold all the same.

The rules that every life keeps, whatever happened in it:

* each request has exactly one answer, and it is the one that the table below allows;
* each answered run and each failed `/init` has ended both logs with one sentinel;
* when a worker has died, nothing that it started is left; when a container has ended, no process and no file is;
* a container whose zygote or proxy was killed ends by itself, and no other does.

What befalls a life is drawn from a generator of its own, so that each can be led again by its number.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.runtime.containers import SENTINEL, Container, await_end
from tests.survival.subjects import Answer, Subject, all_processes, await_boot, init, run, strangers

DIES, RAISES, LIVES = "dies", "raises", "lives"
MUTE = "mute"  # lives, but whatever prints raises from now on

# What a function's code may do to itself, and what becomes of its process.
HARM: dict[str, tuple[str, str]] = {
    "raise": ("raise ValueError('harm')", RAISES),
    "recurse": ("def deep(): deep()\n{0}deep()", RAISES),
    "exit": ("sys.exit(3)", DIES),
    "exit_at_once": ("os._exit(3)", DIES),
    "exit_in_a_thread": (
        "thread = threading.Thread(target=os._exit, args=(4,)); thread.start(); thread.join()",
        DIES,
    ),
    "raise_in_a_thread": ("thread = threading.Thread(target=sys.exit); thread.start(); thread.join()", LIVES),
    "kill_itself": ("os.kill(os.getpid(), signal.SIGKILL)", DIES),
    "abort": ("os.abort()", DIES),
    "read_nowhere": ("ctypes.string_at(0)", DIES),
    "overflow_the_stack": ("overflow()", DIES),
    "close_the_streams": ("os.close(1); os.close(2)", MUTE),
    "close_everything": ("os.closerange(0, 4096); os._exit(0)", DIES),
    "leave_a_daemon": ("subprocess.Popen(['sleep', '900'], start_new_session=True); os._exit(0)", DIES),
    "leave_a_group": ("[subprocess.Popen(['sleep', '900']) for _ in range(3)]; os.kill(os.getpid(), 11)", DIES),
    "forget_a_child": ("os.fork() or os.setsid() or signal.pause(); os._exit(0)", DIES),
    "do_no_harm": ("pass", LIVES),
}

SOURCE = """
import ctypes, os, signal, subprocess, sys, threading

def overflow():
    sys.setrecursionlimit(1 << 30)
    callback = ctypes.CFUNCTYPE(None)(lambda: callback())
    callback()

print('imported')
{at_import}

def main(args):
    if args.get('before'):
        {in_main}
    print('called with', args)
    if args.get('after'):
        {in_main}
    return args
"""

MOMENTS = ("import", "before", "after")
VICTIMS = ("worker", "executor", "zygote", "proxy")
FROM_OUTSIDE_S = 0.05  # the latest that a victim is killed after the request began


@dataclass(frozen=True, slots=True)
class Fate:
    """What befalls one life: its code does `harm` at a `moment`, or somebody kills the `victim` from outside."""

    number: int
    harm: str = "do_no_harm"
    moment: str = "before"
    victim: str | None = None
    delay_s: float = 0

    @classmethod
    def draw(cls, seed: int, number: int) -> Fate:
        random = Random(f"{seed}.{number}")
        if random.random() < 0.3:
            moment = random.choice(("import", "before"))
            delay_s = random.uniform(0, FROM_OUTSIDE_S)
            return cls(number, moment=moment, victim=random.choice(VICTIMS), delay_s=delay_s)
        return cls(number, harm=random.choice(list(HARM)), moment=random.choice(MOMENTS))

    @property
    def ends_the_container(self) -> bool:
        return self.victim in ("zygote", "proxy")


def live(subject: Subject, fate: Fate) -> bool:
    """Lead one life in a container without a function. Returns whether another one can be led in it."""
    if fate.victim is not None:
        await_boot(subject)  # for it to be there
    sentinels = _sentinels(subject)
    text, outcome = HARM[fate.harm]
    code = _source(text, fate.moment)
    with _kill(subject, fate, "import"):
        initialised = init(subject, code)
    if fate.ends_the_container and fate.moment == "import":
        return _has_ended(subject)
    expected = [502] if fate.moment == "import" and outcome in (DIES, RAISES) else [200]
    if fate.victim == "worker" and fate.moment == "import":
        expected = [200, 502]
    status = _status(initialised, expected)
    answered = int(status == 502)
    if status == 200:
        answered += _run_all(subject, fate, outcome)
        if fate.ends_the_container:
            return _has_ended(subject)
    assert _sentinels(subject) == (sentinels[0] + answered, sentinels[1] + answered)
    if outcome == DIES or status == 502:
        assert strangers(subject) == []
    return status == 502


def _run_all(subject: Subject, fate: Fate, outcome: str) -> int:
    """The runs of one life: before, with and after the harm. Returns how many of them have ended the log."""
    answered, state = 0, LIVES if fate.moment != "import" else outcome
    for harmful in (False, True, False):
        value = {"n": fate.number, fate.moment: harmful}
        with _kill(subject, fate, "before" if harmful else ""):
            answer = run(subject, **value)
        if fate.ends_the_container and harmful:
            return 0
        if fate.victim == "worker":  # at some moment of before, during or after the run, or of the import
            status = _status(answer, [200, 400, 500])
        elif state == DIES:
            status = _status(answer, [500])
        else:
            state = outcome if harmful and fate.moment != "import" else state
            status = _status(answer, [400 if state == DIES else 200])
            _check_result(answer, value, state)
            state = LIVES if state == RAISES else state
        answered += int(status in (200, 400))
    return answered


def _check_result(answer: Answer | None, value: dict[str, Any], state: str) -> None:
    assert answer is not None
    if state == LIVES:
        assert answer.json == value
    else:
        assert answer.json.keys() == {"error"} or (state == MUTE and answer.json == value)


def end(subject: Subject) -> None:
    """End a container; nothing of it is left."""
    pids = all_processes(subject)
    subject.close()
    _assert_gone(subject, pids)


def _has_ended(subject: Subject) -> bool:
    pids = all_processes(subject)
    subject.await_end()
    _assert_gone(subject, pids)
    subject.close()
    return False


def _assert_gone(subject: Subject, pids: list[int]) -> None:
    for pid in pids:
        await_end(pid)
    if isinstance(subject, Container):
        assert all_processes(subject) == []
        assert list(subject.work.iterdir()) == []


def _status(answer: Answer | None, expected: list[int]) -> int:
    assert answer is not None, f"no answer instead of {expected}"
    assert answer.status in expected, answer
    return answer.status


def _sentinels(subject: Subject) -> tuple[int, int]:
    out, err = subject.printed()
    return out.count(SENTINEL), err.count(SENTINEL)


def _source(harm: str, moment: str) -> str:
    nothing = "pass"
    return SOURCE.format(
        at_import=harm.format("") if moment == "import" else nothing,
        in_main=harm.format("        ") if moment != "import" else nothing,
    )


@contextlib.contextmanager
def _kill(subject: Subject, fate: Fate, moment: str) -> Iterator[None]:
    """Have the victim killed, if this is the moment, some time after this begins."""
    if fate.victim is None or fate.moment != moment:
        yield
        return
    before = subject.processes()  # while nothing forks: at first a child has its parent's name
    timer = threading.Timer(fate.delay_s, _strike, (subject, fate.victim, before))
    timer.start()
    try:
        yield
    finally:
        timer.join()


def _strike(subject: Subject, victim: str, before: dict[str, int]) -> None:
    with contextlib.suppress(KeyError, OSError):  # a worker may not have been born yet, or have died
        os.kill(before.get(victim) or subject.processes()[victim], signal.SIGKILL)
