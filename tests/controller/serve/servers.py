"""`instar serve` as a process, and a client of it that can do what its tests need."""

from __future__ import annotations

import base64
import http.client
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from outputs import WAIT_S, Outputs

ECHO = "def main(args):\n    print('echo')\n    return args\n"
MEETING = """
import socket
def main(args):
    with socket.create_connection((args.get("host", "127.0.0.1"), args["port"])) as meeting:
        meeting.recv(1)
    return {"met": True}
"""  # runs until the test that it calls hangs up


def launch(*options: str, environ: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
    """The bare command."""
    command = [str(Path(sys.executable).with_name("instar")), "serve", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)


class Server:
    """A running server on a free port; its containers work below `containers`."""

    def __init__(
        self, state: Path, *options: str, environ: Mapping[str, str] | None = None, costs: str | None = "none"
    ) -> None:
        """Without costs nothing is planned; with None they are those of this machine."""
        self.state = state
        self.containers = state / "containers"
        self.store = state.with_name("store")  # a later option of that name wins
        places = ("--state", str(state), "--store", str(self.store))
        usual = ("--json", "--port", "0", *(() if costs is None else ("--costs", costs)))
        self.process = launch(*usual, *places, *options, environ=environ)
        self._heard: list[dict[str, Any]] = []
        self._places: Counter[str] = Counter()  # in what was heard: from where on the next event of a name is sought
        self._outputs = Outputs(self.process, self._heard.append)
        self._callers = ThreadPoolExecutor(64)
        listening = self.event("listening")
        self.auth: str = listening["auth"]
        self.host: str = listening["apihost"].removeprefix("http://")

    def event(self, name: str, *, wait_s: float = WAIT_S) -> dict[str, Any]:
        """The next event of that name, whichever others come before or after it."""
        while True:
            for place in range(self._places[name], len(self._heard)):
                self._places[name] = place + 1
                if self._heard[place]["event"] == name:
                    return self._heard[place]
            self._outputs.event(name, wait_s=wait_s)  # it is heard before, and may have been told already

    def request(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        """One request on a connection of its own: status and JSON."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        token = base64.b64encode(self.auth.encode()).decode()
        headers = {"Authorization": f"Basic {token}", "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(self.host, timeout=WAIT_S * 3)
        try:
            connection.request(method, f"/api/v1/namespaces/_{path}", data, headers)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        is_json = response.headers.get_content_type() == "application/json"
        return response.status, json.loads(answer) if is_json else answer.decode()

    def create(self, name: str, code: str = ECHO, **limits: int) -> None:
        """Store an action. Where a test is tried once more on one server for all, it begins anew."""
        body = {"exec": {"kind": "python:3", "code": code}, "limits": limits}
        status, answer = self.request("PUT", f"/actions/{name}?overwrite=true", body)
        assert status == 200, answer

    def invoke(self, name: str, arguments: object = None) -> tuple[int, dict[str, Any]]:
        """A blocking invocation: status and activation."""
        return self.request("POST", f"/actions/{name}?blocking=true", arguments or {})

    def invoke_aside(self, name: str, arguments: object = None) -> Future[tuple[int, dict[str, Any]]]:
        """The same, from a thread of its own."""
        return self._callers.submit(self.invoke, name, arguments)

    def start_of(self, name: str) -> str:
        """Invoke, and tell how it started."""
        status, activation = self.invoke(name)
        assert status == 200, activation
        return str(annotations(activation)["instar"]["start"])

    def record(self, activation_id: str) -> dict[str, Any]:
        """The stored record, which a blocking caller may ask for a moment before it is there."""
        until_s = time.monotonic() + WAIT_S
        while True:
            status, activation = self.request("GET", f"/activations/{activation_id}")
            if status == 200:
                return dict(activation)
            assert time.monotonic() < until_s, f"there is no record of {activation_id}"
            time.sleep(0.01)

    def end(self, number: int) -> tuple[int, str]:
        """Send a signal and wait for the end: exit status and what was said on standard error."""
        self.process.send_signal(number)
        status = self.process.wait(WAIT_S)
        self._outputs.close()
        return status, "".join(f"{line}\n" for line in self._outputs.log)


def annotations(activation: dict[str, Any]) -> dict[str, Any]:
    pairs: Sequence[dict[str, Any]] = activation["annotations"]
    return {pair["key"]: pair["value"] for pair in pairs}
