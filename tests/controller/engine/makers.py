"""A maker of containers as the contract suite needs it, and what the suite does to the containers."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable
from dataclasses import dataclass

from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import Containers, PendingLog
from instar_controller.whisk.response import Outcome, Replied

C1, C2 = ContainerId("c1"), ContainerId("c2")
MIB = 1 << 20
WAIT_S = 60.0  # for anything that is sure to happen
OWNER = {"__OW_NAMESPACE": "guest", "__OW_ACTION_NAME": "/guest/f"}  # of all the functions: plans are for one owner's

SPEAKING = """
import sys
print("imported")
def main(args):
    print("out", args["n"])
    print("err", args["n"], file=sys.stderr)
    return args
"""
RAISING = "def main(args):\n    return {'x': 1 / 0}\n"
MEETING = """
import socket
def main(args):
    with socket.create_connection((args["host"], args["port"])) as meeting:
        meeting.recv(1)
    return {}
"""  # runs until the test that it calls hangs up


@dataclass
class Maker:
    """Containers, and how one of them can be made to die."""

    containers: Containers
    kill: Callable[[ContainerId], None]
    host: str = "127.0.0.1"  # where its functions reach the test


def start(containers: Containers, id: ContainerId = C1) -> queue.SimpleQueue[ContainerId]:
    """Start a container; the queue gets its id when it has ended."""
    ended: queue.SimpleQueue[ContainerId] = queue.SimpleQueue()
    containers.start(id, kind="python:3", memory_mb=256, key=None, on_exit=ended.put)
    return ended


def init(containers: Containers, code: str, id: ContainerId = C1) -> PendingLog:
    log = containers.begin_log(id, limit_bytes=MIB)
    value = {"name": "f", "main": "main", "binary": False, "code": code, "env": OWNER}
    body = json.dumps({"value": value}).encode()
    outcome = containers.post(id, "/init", body, timeout_ms=60_000, max_reply_bytes=MIB)
    assert isinstance(outcome, Replied) and outcome.status == 200, outcome
    return log


def run(
    containers: Containers, value: object = None, *, timeout_ms: int = 60_000, max_reply_bytes: int = MIB
) -> Outcome:
    body = json.dumps({"value": value or {}}).encode()
    return containers.post(C1, "/run", body, timeout_ms=timeout_ms, max_reply_bytes=max_reply_bytes)
