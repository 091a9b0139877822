"""The real thing: actions over HTTP in containers made of processes."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from collections.abc import Callable

import container_processes
import pytest
from servers import MEETING, WAIT_S, Server, annotations

pytestmark = pytest.mark.system

MIB = 1 << 20
STEP_S = 0.01


def test_records_tell_how_each_call_started(start: Callable[..., Server]) -> None:
    server = start("--prewarm", "python:3:256:1")
    server.event("prewarmed")
    for name, memory in (("small", 256), ("large", 512)):
        server.create(name, memory=memory)
    starts = [server.start_of(name) for name in ("small", "small", "large", "large")]
    assert starts == ["prewarmed", "warm", "cold", "warm"]


def test_the_record_has_the_log_and_the_times(server: Server) -> None:
    server.create("echo")
    status, answer = server.invoke("echo", {"n": 1})
    assert (status, answer["response"]["result"], answer["logs"]) == (200, {"n": 1}, [])
    record = server.record(answer["activationId"])
    assert [line.split(" ", 1)[1].strip() for line in record["logs"]] == ["stdout: echo"]
    notes = annotations(record)
    assert record["duration"] == notes["instar"]["initMs"] + notes["instar"]["runMs"]
    assert notes["initTime"] == notes["instar"]["initMs"]
    assert notes["waitTime"] >= notes["instar"]["bootMs"]


def test_a_container_that_is_killed_in_a_run_costs_one_call(server: Server) -> None:
    server.create("meet", MEETING)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        call = server.invoke_aside("meet", {"port": port})
        meeting, _ = listener.accept()
        with meeting:
            leaders = set()
            for pid in container_processes.below(server.containers):
                with contextlib.suppress(ProcessLookupError):  # it has ended while we looked
                    leaders.add(os.getpgid(pid))
            for leader in leaders:
                os.kill(leader, signal.SIGKILL)
            status, activation = call.result()
    assert (status, activation["response"]["status"]) == (502, "action developer error")
    assert activation["response"]["result"] == {
        "error": "The action did not produce a valid response and exited unexpectedly."
    }
    server.create("after")
    assert server.start_of("after") == "cold"


def test_a_function_beyond_its_time_limit_is_ended(server: Server) -> None:
    # Initialising it has the same limit, and is to be done in it.
    server.create("endless", "def main(args):\n    while True:\n        pass\n", timeout=3000)
    before = set(container_processes.below(server.containers))
    status, activation = server.invoke("endless")
    assert (status, activation["response"]["result"]["error"]) == (
        502,
        "The action exceeded its time limits of 3000 milliseconds.",
    )
    # A spare of another container has its parent's name for a moment.
    until_s = time.monotonic() + WAIT_S
    while left := busy(server) - before:
        assert time.monotonic() < until_s, f"{left} are left"
        time.sleep(STEP_S)


def busy(server: Server) -> set[int]:
    """The processes of its containers that do not wait to be told what to do."""
    running = set(container_processes.below(server.containers))
    return running - set(container_processes.spares(server.containers))


def test_a_function_that_exits_is_the_developers_error_and_the_next_call_works(server: Server) -> None:
    server.create(
        "fickle", "import os\ndef main(args):\n    if args.get('die'):\n        os._exit(1)\n    return {}\n"
    )
    status, activation = server.invoke("fickle", {"die": True})
    assert (status, activation["response"]["result"]) == (502, {"error": "command exited"})
    assert server.invoke("fickle")[0] == 200


def test_sixty_four_callers_are_served_side_by_side(server: Server) -> None:
    server.create("crowd")
    calls = [server.invoke_aside("crowd", {"n": n}) for n in range(64)]
    answers = [call.result() for call in calls]
    assert [answer["response"]["result"] for _, answer in answers] == [{"n": n} for n in range(64)]


def test_code_of_many_megabytes_arrives_whole(server: Server) -> None:
    padding = "x" * (30 * MIB)
    server.create("large", f"DATA = '{padding}'\ndef main(args):\n    return {{'length': len(DATA)}}\n")
    assert server.invoke("large")[1]["response"]["result"] == {"length": 30 * MIB}


def test_a_body_over_fifty_megabytes_is_refused(server: Server) -> None:
    status, answer = server.request("PUT", "/actions/huge", b" " * (50 * MIB + 1))
    assert (status, answer) == (400, "Request too large")
    server.create("unharmed")
    assert server.invoke("unharmed")[0] == 200


def test_a_function_gets_no_more_memory_than_its_limit_and_lives(server: Server) -> None:
    server.create("take", "def main(args):\n    return {'taken': len(bytearray(args['mib'] << 20))}\n", memory=256)
    taken = [server.invoke("take", {"mib": mib}) for mib in (64, 512, 64)]
    assert [status for status, _ in taken] == [200, 502, 200]
    assert taken[1][1]["response"]["status"] == "application error"
    assert annotations(taken[2][1])["instar"]["start"] == "warm"


@pytest.mark.parametrize("victim", ["instar-zygote", "instar-proxy"])
def test_a_container_that_loses_a_process_is_replaced(start: Callable[..., Server], victim: str) -> None:
    server = start("--prewarm", "python:3:256:1")
    server.event("prewarmed")
    first = set(server.containers.iterdir())
    os.kill(only_one(server, victim), signal.SIGKILL)
    removed = server.event("removed")
    assert (removed["reason"], "ending" in removed) == ("ended by itself", True)
    server.event("prewarmed")
    assert set(server.containers.iterdir()).isdisjoint(first)
    server.create("echo")
    assert server.start_of("echo") == "prewarmed"


def only_one(server: Server, name: str) -> int:
    """The pid of the process of that name. A child has its parent's name for a moment."""
    until_s = time.monotonic() + WAIT_S
    while True:
        try:
            return container_processes.named(server.containers, name)
        except ValueError:
            assert time.monotonic() < until_s, f"there is not one {name}"
            time.sleep(STEP_S)
