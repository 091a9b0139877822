"""Containers that answer as the recorded ones did, and write what those wrote."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from invoker_recordings import Case, Exchange

from instar_controller.errors import ContainerError, ImageError
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import NOT_OFFERED, Ending, Log, LogLine, PendingLog
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.response import (
    LOGS_MIGHT_BE_MISSING,
    Outcome,
    Replied,
    TimedOut,
)

_LINE = re.compile(r"(\S+)\.(\d+)Z +(stdout|stderr): (.*)", re.DOTALL)
_TIMED_OUT = re.compile(r"The action exceeded its time limits of (\d+) milliseconds")
UNBUILT = b'{"error":"The action failed to generate or locate a binary. See logs for details."}\n'
NO_IMAGE = "example/nosuch"
LONG = {"result larger than 1 MB": 2_000_000, "result just below 1 MB": 1_048_000}  # letters that were answered


class ReplayedContainers:
    """Knows the activation that runs by what it is asked. `last` is the case that the container is for."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = {case.id: case for case in cases}
        self._lock = threading.Lock()
        self._alive: dict[ContainerId, Callable[[ContainerId], None]] = {}
        self._holds: dict[ContainerId, str] = {}  # the action that was initialised
        self.asked: dict[str, list[tuple[str, Any]]] = {case.id: [] for case in cases}

    def start(
        self,
        id: ContainerId,
        *,
        kind: str,
        memory_mb: int,
        key: ContainerKey | None,
        on_exit: Callable[[ContainerId], None],
    ) -> None:
        if kind.endswith(NO_IMAGE):
            raise ImageError(f"Failed to pull container image '{NO_IMAGE}'.")
        with self._lock:
            self._alive[id] = on_exit

    def post(self, id: ContainerId, path: str, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        sent = json.loads(body)
        case = self._cases[sent["value"]["env"]["__OW_ACTIVATION_ID"] if path == "/init" else sent["activation_id"]]
        with self._lock:
            self._holds[id] = case.action
        self.asked[case.id].append((path, sent))
        status, answer, outcome = 200, b"", None
        exchange = _find(case, path)
        if exchange is not None:
            status, answer = exchange.status, exchange.answer
        elif path == "/init":
            answer = b'{"ok":true}\n'
            if case.label.endswith("health test"):  # the second one was not recorded, and went like the first
                status, answer = 502, UNBUILT
        else:
            answer = _answer(case)
        if path == "/run" and (outcome := _timed_out(case)) is not None:
            return outcome
        return Replied(status, answer[: max_reply_bytes + 1], len(answer))

    def transform(self, id: ContainerId, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        return NOT_OFFERED

    def begin_log(self, id: ContainerId, *, limit_bytes: int, mark: str | None = None) -> PendingLog:
        return _RecordedLog(self, id)

    def pause(self, id: ContainerId) -> None:
        self._check(id)

    def resume(self, id: ContainerId) -> None:
        self._check(id)

    def remove(self, id: ContainerId) -> Ending | None:
        with self._lock:
            on_exit = self._alive.pop(id, None)
            self._holds.pop(id, None)
        if on_exit is not None:
            on_exit(id)
        return None

    def close(self) -> None:
        for id in list(self._alive):
            self.remove(id)

    def end_all_of(self, action: str) -> None:
        """Let every container of this action die, as if it had been idle for too long."""
        for id, held in list(self._holds.items()):
            if held == action:
                self.remove(id)

    def log_of(self, id: ContainerId) -> Log:
        """What the container's last activation wrote."""
        ran = [whose for whose, asked in self.asked.items() if asked]
        lines = []
        record = self._cases[ran[-1]].record
        for text in record["logs"] if record else ():
            if not text.endswith(LOGS_MIGHT_BE_MISSING):  # which the invoker adds
                lines.append(_line(text))
        return Log(lines, is_complete=True, is_truncated=False)

    def _check(self, id: ContainerId) -> None:
        if id not in self._alive:
            raise ContainerError(f"there is no container {id}")


class _RecordedLog:
    def __init__(self, containers: ReplayedContainers, id: ContainerId) -> None:
        self._containers = containers
        self._id = id

    def collect(self, *, timeout_ms: int) -> Log:
        return self._containers.log_of(self._id)

    def collect_until_quiet(self, *, quiet_ms: int, timeout_ms: int) -> Log:
        return self._containers.log_of(self._id)


def _find(case: Case, path: str) -> Exchange | None:
    return next((exchange for exchange in case.exchanges if exchange.path == path), None)


def _timed_out(case: Case) -> Outcome | None:
    """The container did answer in the end, but the invoker did not wait for it."""
    error = (case.record or {}).get("response", {}).get("result", {})
    found = _TIMED_OUT.match(str(error.get("error"))) if isinstance(error, Mapping) else None
    return None if found is None else TimedOut(int(found[1]))


def _answer(case: Case) -> bytes:
    """The body that was not recorded: of the length that its record tells, or that its code makes."""
    name = case.label.partition(" ")[2]
    if name in LONG:
        return json.dumps({"big": "x" * LONG[name]}).encode() + b"\n"
    response = case.record["response"]
    body = json.dumps(response["result"]).encode() + b"\n"
    assert len(body) == response["size"], f"the answer of {case} cannot be rebuilt"
    return body


def _line(text: str) -> LogLine:
    found = _LINE.fullmatch(text)
    assert found is not None, text
    moment = int(datetime.fromisoformat(f"{found[1]}+00:00").timestamp())
    return LogLine(moment * 1_000_000_000 + int(found[2].ljust(9, "0")), found[3], found[4])
