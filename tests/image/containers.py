"""A container of the image under test, started as OpenWhisk's Docker factory does and spoken to as its invoker does.

It has the same methods as `tests.runtime.containers.Container`, so that a check may run on either. What it printed
is what the engine's log says. The log comes late: so each look at it first writes a mark of our own behind everything
that the container has written so far, and waits until the log shows the mark.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import itertools
import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import docker
from docker.errors import APIError, NotFound
from docker.models.containers import Container as Handle
from docker.types import LogConfig, Ulimit

from tests.runtime.containers import ROLES, Exchange

PORT = 8080
ANSWER_S = 60  # most time that an answer takes; the first one waits for the boot
LOG_S = 60  # the engine's log is that late at most
END_S = 60  # a container that takes longer to end has not ended
RETRY_S = 0.02  # between attempts to connect, or to see what has just ended
MIB = 1 << 20
LABEL = "instar.test"
LIMIT_MIB = 512
_MARK = re.compile(rb"<mark \d+ of the tests>\n")
_numbers = itertools.count()


class ImageContainer:
    """One running container. `close` removes it, as OpenWhisk does, by force."""

    def __init__(
        self,
        client: docker.DockerClient,
        image: str,
        *arguments: str,
        environ: Mapping[str, str] | None = None,
        memory_mib: int = LIMIT_MIB,
        **options: Any,
    ) -> None:
        """Starts it. `options` are those of `docker.containers.run` and come before OpenWhisk's."""
        factory: dict[str, Any] = {
            "name": f"wsk0_{next(_numbers)}_{os.getpid()}_test",
            "cpu_shares": memory_mib,
            "mem_limit": memory_mib * MIB,
            "memswap_limit": memory_mib * MIB,
            "network": "bridge",
            "cap_drop": ["NET_RAW", "NET_ADMIN"],
            "ulimits": [Ulimit(name="nofile", soft=1024, hard=1024)],
            "pids_limit": 1024,
            "log_config": LogConfig(type=LogConfig.types.JSON),
            "environment": {"__OW_API_HOST": "https://api.example", **(environ or {})},
            "labels": {LABEL: "image"},
        }
        self.handle: Handle = client.containers.run(image, list(arguments), detach=True, **(factory | options))
        try:
            self.handle.reload()
            self.address: str = self.handle.attrs["NetworkSettings"]["IPAddress"]
            self.pid: int = self.handle.attrs["State"]["Pid"]  # of its first process, as the host sees it
            self._streams = _Stream(self.handle, 1, self.pid), _Stream(self.handle, 2, self.pid)
        except BaseException:
            self.handle.remove(force=True)
            raise

    def send(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None, *, timeout_s: float = ANSWER_S
    ) -> Exchange:
        """One request on a connection of its own, as OpenWhisk does it; retried while nobody listens."""
        before = [stream.end() for stream in self._streams]
        with contextlib.closing(self._connected(timeout_s)) as connection:
            connection.request(method, path, body, {"Content-Type": "application/json", "Accept": "application/json"})
            response = connection.getresponse()
            data = response.read()
        out, err = (stream.text(at) for stream, at in zip(self._streams, before, strict=True))
        return Exchange(response.status, data, dict(response.getheaders()), out, err)

    def post(self, path: str, document: Any, *, timeout_s: float = ANSWER_S) -> Exchange:
        return self.send("POST", path, json.dumps(document).encode(), timeout_s=timeout_s)

    def init(self, code: str | bytes | None, **value: Any) -> Exchange:
        """`/init` with source text, or with the bytes of an archive."""
        text = base64.b64encode(code).decode() if isinstance(code, bytes) else code
        defaults = {"name": "act", "main": "main", "binary": isinstance(code, bytes), "code": text}
        return self.post("/init", {"value": defaults | value})

    def run(self, value: Any = None, *, timeout_s: float = ANSWER_S, **context: Any) -> Exchange:
        return self.post("/run", {"value": {} if value is None else value} | context, timeout_s=timeout_s)

    def processes(self) -> dict[str, int]:
        """The container's processes by role, with the host's pids; those that a function started have none."""
        names = {_role(name): pid for pid, name in self._top()}
        return {role: pid for role, pid in names.items() if role in ROLES}

    def group(self) -> list[int]:
        """Every live process of the container, with the host's pids."""
        return [pid for pid, _ in self._top()]

    def printed(self) -> tuple[str, str]:
        out, err = (stream.text(0) for stream in self._streams)
        return out, err

    def await_end(self) -> int:
        """Wait until the container has ended; its exit code."""
        return int(self.handle.wait(timeout=END_S)["StatusCode"])

    def close(self) -> None:
        with contextlib.suppress(NotFound):
            self.handle.remove(force=True)
        for stream in self._streams:
            stream.join()

    def _connected(self, timeout_s: float) -> http.client.HTTPConnection:
        """A connection, tried again while nobody listens, as OpenWhisk does, unless the container has ended."""
        deadline = time.monotonic() + timeout_s
        while True:
            connection = http.client.HTTPConnection(self.address, PORT, timeout=timeout_s)
            try:
                connection.connect()
                return connection
            except ConnectionRefusedError:
                if self._streams[0].ended_within(RETRY_S) or time.monotonic() > deadline:
                    raise

    def _top(self) -> list[tuple[int, str]]:
        deadline = time.monotonic() + END_S
        while True:
            try:
                rows = self.handle.top(ps_args="-eo pid,comm")["Processes"] or []  # none when it is just ending
                return [(int(pid), name) for pid, name in rows]
            except APIError:  # nor can it be looked at then, for a moment in which the engine still calls it running
                self.handle.reload()
                if self.handle.status == "exited":
                    return []
                if time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_S)


class _Stream:
    """What a container has written to one of its streams, followed from its start by a thread of its own."""

    def __init__(self, handle: Handle, number: int, pid: int) -> None:
        self._data = bytearray()
        self._news = threading.Condition()
        self._ended = False
        self._marks = itertools.count()
        self._pipe = Path(f"/proc/{pid}/fd/{number}")
        self._lines = handle.logs(stdout=number == 1, stderr=number == 2, stream=True, follow=True)
        self._thread = threading.Thread(target=self._follow, name=f"log {number} of {handle.name}", daemon=True)
        self._thread.start()

    def text(self, start: int) -> str:
        """Everything written from this position until now."""
        end = self.end()
        with self._news:
            return _MARK.sub(b"", bytes(self._data[start:end])).decode(errors="replace")

    def end(self) -> int:
        """The position behind everything written until now."""
        mark = b"<mark %d of the tests>\n" % next(self._marks)
        try:
            self._pipe.write_bytes(mark)
        except OSError:  # its first process has ended: the log ends too
            mark = b""
        with self._news:
            there = self._news.wait_for(lambda: self._ended or (mark and mark in self._data), LOG_S)
            assert there, f"the engine's log is more than {LOG_S} s late"
            return len(self._data) if self._ended else self._data.find(mark) + len(mark)

    def ended_within(self, timeout_s: float) -> bool:
        """Whether the container has ended, or does within this time."""
        with self._news:
            return self._news.wait_for(lambda: self._ended, timeout_s)

    def join(self) -> None:
        """Wait until the log has ended, which it does with the container."""
        self._thread.join(LOG_S)
        self._lines.close()

    def _follow(self) -> None:
        for chunk in self._lines:
            with self._news:
                self._data += chunk
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


def _role(name: str) -> str:
    return "master" if name == "instar-runtime" else name.removeprefix("instar-")
