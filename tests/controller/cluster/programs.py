"""`instar invoker` and `instar dispatcher` as processes, as their operators see them."""

from __future__ import annotations

import base64
import contextlib
import http.client
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from outputs import WAIT_S, Outputs
from prometheus_client.parser import text_string_to_metric_families

PROOF = "Basic " + base64.b64encode(b"invoker.user:invoker.pass").decode()


class RunningProgram:
    """A program that was started; its events and its log are read as they come."""

    def __init__(self, command: str, *options: str, environment: Mapping[str, str]) -> None:
        line = [str(Path(sys.executable).with_name("instar")), command, "--json", "--port", "0", *options]
        own = {key: value for key, value in os.environ.items() if not key.startswith(("CONFIG_", "INSTAR_"))}
        self.process = subprocess.Popen(
            line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**own, **environment}
        )
        self._address: Future[str] = Future()  # of its operations server
        self._outputs = Outputs(self.process, self._hear)

    def event(self, name: str, *, wait_s: float = WAIT_S) -> dict[str, Any]:
        """The next event of that name."""
        return self._outputs.event(name, wait_s=wait_s)

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

    def wait_until_ready(self) -> None:
        """Ask until it says so: for a moment it may not have heard of something that is there."""
        deadline_s = time.monotonic() + WAIT_S
        while (answer := self.ask("/readyz")) != (200, "ok"):
            assert time.monotonic() < deadline_s, f"after {WAIT_S} s it says: {answer}"
            time.sleep(0.1)

    def wait(self, wait_s: float = WAIT_S) -> int:
        """Wait for its end; its exit status."""
        status = self.process.wait(wait_s)
        self._outputs.close()
        return status

    def end(self, number: int) -> int:
        """Send it a signal, and wait for its end."""
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(number)
        return self.wait()

    @property
    def log(self) -> list[str]:
        """Its log so far, by lines."""
        return self._outputs.log

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def _hear(self, event: dict[str, Any]) -> None:
        if event["event"] == "answering":
            self._address.set_result(event["url"].removeprefix("http://"))
