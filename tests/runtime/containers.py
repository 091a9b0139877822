"""A container under test: the real processes, spoken to over HTTP, as an invoker would start them.

Its streams go to files, so that a test sees exactly what a log collector would, and when.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from instar.action.processes import PF_EXITING

SENTINEL = "XXX_THE_END_OF_A_WHISK_ACTIVATION_XXX"
ROLES = ("master", "proxy", "zygote", "executor", "worker")
ANSWER_S = 60  # most time that an answer takes; the first one waits for the boot
GONE_S = 60  # a container that takes longer to end has not ended
NAMED_S, LOOK_S = 10, 0.005  # a process that was forked has its own name soon; how often this looks


@dataclass(frozen=True, slots=True)
class Exchange:
    """An answer, and what the container printed from the request on."""

    status: int
    body: bytes
    headers: Mapping[str, str]
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def sentinels(self) -> tuple[int, int]:
        """Sentinels on standard output and standard error, counted as whole lines."""
        return self.out.splitlines().count(SENTINEL), self.err.splitlines().count(SENTINEL)

    @property
    def printed(self) -> tuple[str, str]:
        """Both streams without sentinels and outer white space."""
        return self.out.replace(SENTINEL, "").strip(), self.err.replace(SENTINEL, "").strip()


class Runtime(Protocol):
    """What a check may ask of a container, be it processes of this machine or an image in an engine."""

    def send(
        self, method: str, path: str, body: bytes | Iterator[bytes] | None, *, timeout_s: float = ANSWER_S
    ) -> Exchange: ...
    def post(self, path: str, document: Any, *, timeout_s: float = ANSWER_S) -> Exchange: ...
    def init(self, code: str | bytes | None, **value: Any) -> Exchange: ...
    def run(self, value: Any = None, *, timeout_s: float = ANSWER_S, **context: Any) -> Exchange: ...
    def printed(self) -> tuple[str, str]: ...
    def processes(self) -> dict[str, int]: ...
    def close(self) -> None: ...


class Container:
    """One running `instar.proxy.serve`. `close` ends it by its lifeline."""

    def __init__(self, root: Path, *arguments: str, environ: Mapping[str, str] | None = None) -> None:
        self.root = root
        self.work = root / "work"
        self.work.mkdir(parents=True)
        self._out, self._err = root / "out", root / "err"
        listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = listener.getsockname()[1]
        lifeline, self.lifeline = os.pipe()
        command = [sys.executable, "-m", "instar.proxy.serve", "--fd", str(listener.fileno())]
        command += ["--lifeline", str(lifeline), "--work", str(self.work), *arguments]
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                env={**os.environ, "INSTAR_STORE": str(root / "store"), **(environ or {})},
                pass_fds=[listener.fileno(), lifeline],
                start_new_session=True,
            )
        os.close(lifeline)
        listener.close()

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterator[bytes] | None,
        *,
        timeout_s: float = ANSWER_S,
        headers: Mapping[str, str] | None = None,
    ) -> Exchange:
        """One request on a connection of its own, as OpenWhisk does it."""
        before = self._out.stat().st_size, self._err.stat().st_size
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        with contextlib.closing(connection):
            usual = {"Content-Type": "application/json", "Accept": "application/json"}
            connection.request(method, path, body, {**usual, **(headers or {})})
            response = connection.getresponse()
            data = response.read()
        out, err = (path.read_bytes()[at:].decode() for path, at in zip((self._out, self._err), before, strict=True))
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
        """The container's processes by role; those that a function started have none."""
        deadline_s = time.monotonic() + NAMED_S
        while True:
            below = [self.process.pid]
            for pid in below:
                below += _children(pid)
            named = [(name, pid) for pid in below if (name := _name(pid)) in ROLES]
            names = [name for name, _ in named]
            # What master or zygote has just forked is called like its parent, until it has come to naming itself.
            if max(names.count("master"), names.count("zygote")) < 2 or time.monotonic() > deadline_s:
                return dict(named)
            time.sleep(LOOK_S)

    def group(self) -> list[int]:
        """Every live process whose group or session is this container's."""
        return [pid for pid, fields in _statuses() if self.process.pid in (fields[2], fields[3])]

    def printed(self) -> tuple[str, str]:
        return self._out.read_text(), self._err.read_text()

    def await_end(self) -> int:
        """Wait until the container has ended; its exit code."""
        return self.process.wait(timeout=GONE_S)

    def let_go(self) -> None:
        """Close the lifeline, once: its number may be another file's afterwards."""
        lifeline, self.lifeline = self.lifeline, -1
        if lifeline >= 0:
            os.close(lifeline)

    def close(self) -> None:
        self.let_go()
        try:
            self.process.wait(timeout=GONE_S)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()


def await_end(pid: int) -> None:
    """Wait until a process that is not our child has ended."""
    with contextlib.suppress(ProcessLookupError):
        descriptor = os.pidfd_open(pid)
        try:
            assert select.select([descriptor], [], [], GONE_S)[0], f"process {pid} still runs after {GONE_S} s"
        finally:
            os.close(descriptor)


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """A zip archive of these files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def zipped_folder(folder: Path, at: str, files: Mapping[str, str | bytes]) -> bytes:
    """A zip archive of these files and, at `at`, everything in a folder."""
    content = {f"{at}/{path.relative_to(folder)}": path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return zipped({**files, **content})


def _children(pid: int) -> list[int]:
    return [child for child, fields in _statuses() if fields[1] == pid]


def _name(pid: int) -> str:
    try:
        name = Path(f"/proc/{pid}/comm").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):  # it has ended meanwhile
        return ""
    return "master" if name == "instar-runtime" else name.removeprefix("instar-")


def _statuses() -> Iterator[tuple[int, tuple[str, int, int, int]]]:
    """Pid and (state, parent, group, session) of every process that is not a zombie, nor about to be one."""
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):
                text = Path(f"/proc/{entry}/stat").read_text()
                state, *numbers = text[text.rindex(")") + 2 :].split()[:7]
                parent, group, session, _, _, flags = map(int, numbers)
                if state != "Z" and not flags & PF_EXITING:
                    yield int(entry), (state, parent, group, session)
