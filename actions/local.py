"""An OpenWhisk of one's own for as long as a `with` lasts: `instar serve` on a free loopback port.

Everything it keeps (actions, records, the key, the node's weights) is in a folder that the caller owns. What is said
to it goes over HTTP, as any OpenWhisk client would say it.
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from instar import profiles

EVENT_S = 120  # a server that says nothing for so long hangs
REQUEST_S = 120
END_S = 30


class ServeError(Exception):
    """`instar serve` ended, hung, or answered with an error."""


@dataclass(frozen=True, slots=True)
class Invoked:
    """An answer, with what the activation record says of how it came about."""

    result: dict[str, Any]
    start: str  # cold, prewarmed, transformed or warm
    elapsed_ms: float  # for the client, from the request to the whole answer
    times_ms: dict[str, int]  # duration, waitTime and, unless the start was warm, initTime
    note: dict[str, Any]  # Instar's own annotation of the record


class Server:
    """A running `instar serve` and a client of it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._unread = b""
        self._session = requests.Session()
        event = self.await_event("listening")
        self._session.auth = tuple(event["auth"].split(":", 1))
        self._namespace = f"{event['apihost']}/api/v1/namespaces/_"

    def create(
        self, name: str, code: Path, *, kind: str, memory_mb: int, annotations: Mapping[str, Any] | None = None
    ) -> None:
        """Create or replace an action; a replaced one finds no warm container."""
        binary = code.suffix == ".zip"
        data = code.read_bytes()
        text = base64.b64encode(data).decode() if binary else data.decode()
        body = {
            "exec": {"kind": kind, "code": text, "binary": binary},
            "limits": {"memory": memory_mb},
            "annotations": [{"key": key, "value": value} for key, value in (annotations or {}).items()],
        }
        self._answer(
            self._session.put(f"{self._namespace}/actions/{name}?overwrite=true", json=body, timeout=REQUEST_S)
        )

    def invoke(self, name: str, arguments: dict[str, Any]) -> Invoked:
        """Invoke an action and wait for its answer. Raises `ServeError` if it is an error."""
        start = time.perf_counter()
        response = self._session.post(
            f"{self._namespace}/actions/{name}?blocking=true", json=arguments, timeout=REQUEST_S
        )
        elapsed_ms = (time.perf_counter() - start) * 1000
        activation = self._answer(response)
        notes = {note["key"]: note["value"] for note in activation["annotations"]}
        times = {"duration": activation["duration"]} | {n: notes[n] for n in ("waitTime", "initTime") if n in notes}
        return Invoked(activation["response"]["result"], notes["instar"]["start"], elapsed_ms, times, notes["instar"])

    def await_event(self, name: str) -> dict[str, Any]:
        """The next event of this name. Raises `ServeError` if the server ends or stays silent."""
        while True:
            event: dict[str, Any] = json.loads(self._line())
            if event["event"] == name:
                return event

    def _line(self) -> bytes:
        assert self._process.stdout is not None  # it was opened as a pipe
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            while b"\n" not in self._unread:
                if not selector.select(EVENT_S):
                    raise ServeError(f"instar serve has said nothing for {EVENT_S} s")
                piece = os.read(self._process.stdout.fileno(), 1 << 16)
                if not piece:
                    raise ServeError(f"instar serve ended with status {self._process.wait()}; see its message above")
                self._unread += piece
        line, _, self._unread = self._unread.partition(b"\n")
        return line

    def _url(self, action: str, query: str) -> str:
        return f"{self._namespace}/actions/{action}?{query}"

    def _answer(self, response: requests.Response) -> dict[str, Any]:
        document: dict[str, Any] = response.json()
        if response.status_code == 200:
            return document
        error = document.get("error") or document.get("response")
        log = self._log_of(document["activationId"]) if "activationId" in document else ""
        raise ServeError(f"{response.request.method} {response.url}: {response.status_code} {error}\n{log}")

    def _log_of(self, activation_id: str) -> str:
        response = self._session.get(f"{self._namespace}/activations/{activation_id}/logs", timeout=REQUEST_S)
        return "\n".join(response.json().get("logs", []))


@contextmanager
def serving(
    folder: Path,
    *options: str,
    prewarm: Sequence[str],
    memory_mb: int,
    keep_alive_s: float,
    environ: Mapping[str, str] = os.environ,
) -> Iterator[Server]:
    """A server with its state in `folder`, and further `options` of `instar serve`.

    It and all its containers have ended when the block is left. It plans with the profile of this machine, where
    there is one (`profiled`), for it measures one itself else.
    """
    command = [*_instar(), "serve", "--json", "--port", "0"]
    command += ["--state", str(folder / "state"), "--memory", str(memory_mb)]
    command += ["--keep-alive", str(keep_alive_s)]
    for cells in prewarm:
        command += ["--prewarm", cells]
    command += options
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env={"INSTAR_PROFILES": str(profiles.folder(environ)), **environ, "INSTAR_STORE": str(folder / "store")},
    )
    try:
        yield Server(process)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stdout is not None:
            process.stdout.close()


def profiled(folder: Path, *, quick: bool = False) -> dict[str, str]:
    """The environment for a server that finds a profile of this machine, so that it need not measure one meanwhile.

    If nobody has measured one it is done now: half a minute, with a progress bar; or some seconds if that is to be
    `quick`, and then it lies in `folder`, for it is not exact enough to be kept for others.
    """
    if profiles.find(profiles.folder(os.environ), profiles.device_kind()) is not None:
        return dict(os.environ)
    environ = {**os.environ, **({"INSTAR_PROFILES": str(folder / "profiles")} if quick else {})}
    options = ["--quick"] if quick else []
    subprocess.run([*_instar(), "profile", *options], env=environ, stdout=subprocess.DEVNULL, check=True)
    return environ


def _instar() -> list[str]:
    return [str(Path(sysconfig.get_path("scripts")) / "instar")]
