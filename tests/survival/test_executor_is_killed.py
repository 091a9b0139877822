"""The executor dies in the middle of a run: one clear error for that run, and the next one works."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.image.containers import ImageContainer
from tests.survival.subjects import ASK_S, Answer, Subject, init, run

pytestmark = pytest.mark.system


def test_an_executor_killed_in_the_middle_of_a_run_costs_one_clear_error(subject: Subject, doubling: str) -> None:
    assert init(subject, doubling, binary=True) == Answer(200, {"ok": True})
    for number in range(3):
        executor = subject.processes()["executor"]
        os.kill(executor, signal.SIGSTOP)  # so that no call can be over before the kill
        with listening(subject) as told, ThreadPoolExecutor(1) as pool:
            running = pool.submit(run, subject, n=1, tell=[*told.getsockname()])
            told.settimeout(ASK_S)
            told.accept()[0].close()  # the handler calls its model now
            os.kill(executor, signal.SIGKILL)
            answer = running.result(ASK_S)
        assert answer is not None and answer.status == 200  # the function caught it, and passes it on
        assert answer.json["type"] == "ProcessError" and "the next call finds a new one" in answer.json["text"]
        assert run(subject, n=number) == Answer(200, {"doubled": [2 * number]})


def listening(subject: Subject) -> socket.socket:
    """A socket that the function can reach."""
    host = "127.0.0.1"
    if isinstance(subject, ImageContainer):
        host = subject.handle.attrs["NetworkSettings"]["Gateway"]
    return socket.create_server((host, 0))
