"""The real thing: actions over HTTP in containers made of processes."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import container_processes
import pytest
from servers import MEETING, Server, annotations

pytestmark = pytest.mark.system

MIB = 1 << 20


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
            victims = container_processes.below(server.containers)
            leaders = {os.getpgid(pid) for pid in victims}
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
    server.create("endless", "def main(args):\n    while True:\n        pass\n", timeout=300)
    before = set(container_processes.below(server.containers))
    status, activation = server.invoke("endless")
    assert (status, activation["response"]["result"]["error"]) == (
        502,
        "The action exceeded its time limits of 300 milliseconds.",
    )
    server.record(activation["activationId"])  # which is written after the container's streams have ended
    left = set(container_processes.below(server.containers)) - set(container_processes.spares(server.containers))
    assert left <= before


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
    os.kill(container_processes.named(server.containers, victim), signal.SIGKILL)
    removed = server.event("removed")
    assert (removed["reason"], "ending" in removed) == ("ended by itself", True)
    server.event("prewarmed")
    assert set(server.containers.iterdir()).isdisjoint(first)
    server.create("echo")
    assert server.start_of("echo") == "prewarmed"
