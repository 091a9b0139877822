"""`instar invoker` and `instar dispatcher` as processes, as their operators see them."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

WAIT_S = 60.0  # for anything that is sure to happen
PROOF = "Basic " + base64.b64encode(b"invoker.user:invoker.pass").decode()


class RunningProgram:
    """A program that was started; its events and its log are read as they come."""

    def __init__(self, command: str, *options: str, environment: Mapping[str, str]) -> None:
        line = [str(Path(sys.executable).with_name("instar")), command, "--json", "--port", "0", *options]
        own = {key: value for key, value in os.environ.items() if not key.startswith(("CONFIG_", "INSTAR_"))}
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**own, **environment}
        )
        self._events: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._address: Future[str] = Future()  # of its operations server
        self.log: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_events, daemon=True),
            threading.Thread(target=self._read_log, daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def event(self, name: str, *, wait_s: float = WAIT_S) -> dict[str, Any]:
        """The next event of that name."""
        try:
            while (event := self._events.get(timeout=wait_s))["event"] != name:
                pass
        except queue.Empty:
            raise AssertionError(f"no event '{name}' in {wait_s} s; its log:\n" + "\n".join(self.log)) from None
        return event

    def ask(self, path: str, method: str = "GET") -> tuple[int, str]:
        """Ask its operations server."""
        address = self._address.result(WAIT_S)
        connection = http.client.HTTPConnection(address, timeout=WAIT_S)
        try:
            connection.request(method, path, headers={"Authorization": PROOF})
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def metric(self, name: str, **labels: str) -> float | None:
        """One of its metrics; None if it is not told."""
        status, text = self.ask("/metrics")
        assert status == 200, text
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name == name and sample.labels == labels:
                    return sample.value
        return None

    def wait_for_metric(self, is_so: Callable[[float], bool], name: str, **labels: str) -> float:
        """Ask until one of its metrics is told and is so."""
        deadline_s = time.monotonic() + WAIT_S
        while (value := self.metric(name, **labels)) is None or not is_so(value):
            assert time.monotonic() < deadline_s, f"{name}{labels} is {value} after {WAIT_S} s"
            time.sleep(0.1)
        return value

    def wait(self, wait_s: float = WAIT_S) -> int:
        """Wait for its end; its exit status."""
        status = self.process.wait(wait_s)
        for reader in self._readers:
            reader.join(WAIT_S)
        assert self.process.stdout is not None and self.process.stderr is not None
        self.process.stdout.close()
        self.process.stderr.close()
        return status

    def end(self, number: int) -> int:
        """Send it a signal, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.wait()

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def _read_events(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            event = json.loads(line)
            if event["event"] == "answering":
                self._address.set_result(event["url"].removeprefix("http://"))
            self._events.put(event)

    def _read_log(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line.rstrip("\n"))
