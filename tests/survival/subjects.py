"""What is made to survive here: a container, as local processes or as one of an engine.

The rule: a request is answered exactly once. `ask` reads its connection to the end and refuses a second answer; one
that breaks off is none.
"""

from __future__ import annotations

import errno
import json
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from tests.image.containers import PORT, ImageContainer
from tests.runtime.containers import Container

ASK_S = 120  # for a machine that has other things to do
RETRY_S = 0.02  # between attempts to connect: nothing tells when a socket of another network begins to listen
MARK = "INSTAR_SURVIVAL"


class Subject(Protocol):
    """The methods that both kinds of container have."""

    def processes(self) -> dict[str, int]: ...
    def group(self) -> list[int]: ...
    def printed(self) -> tuple[str, str]: ...
    def await_end(self) -> int: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    json: Any


def ask(subject: Subject, path: str, document: Any, *, method: str = "POST") -> Answer | None:
    """The one answer on a connection of its own; None if that was closed before the answer was whole."""
    body = json.dumps(document).encode()
    head = f"{method} {path} HTTP/1.1\r\nHost: action\r\nConnection: close\r\nContent-Type: application/json\r\n"
    found = b""
    try:
        with _connected(subject) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            while piece := connection.recv(1 << 16):
                found += piece
    except OSError as error:
        # A container of an engine that has ended takes its address with it.
        if not isinstance(error, ConnectionError) and error.errno != errno.EHOSTUNREACH:
            raise
    lines, end, content = found.partition(b"\r\n\r\n")
    if not end:
        return None
    fields = dict(line.lower().split(b": ", 1) for line in lines.split(b"\r\n")[1:])
    size = int(fields[b"content-length"])
    assert lines.startswith(b"HTTP/1.1 ") and len(content) <= size, found[:500]
    if len(content) < size:
        return None
    return Answer(int(lines.split(b" ", 2)[1]), json.loads(content))


def _connected(subject: Subject) -> socket.socket:
    """A connection, tried again while a container of the image has not come to listen yet."""
    deadline = time.monotonic() + ASK_S
    while True:
        try:
            return socket.create_connection(endpoint(subject), timeout=ASK_S)
        except ConnectionRefusedError:
            if not subject.group() or time.monotonic() > deadline:
                raise
            time.sleep(RETRY_S)


def init(subject: Subject, code: str, *, binary: bool = False) -> Answer | None:
    return ask(subject, "/init", {"value": {"code": code, "binary": binary}})


def run(subject: Subject, **value: Any) -> Answer | None:
    return ask(subject, "/run", {"value": value})


def await_boot(subject: Subject) -> None:
    """Wait until every process of a fresh container is there."""
    assert ask(subject, "/ready", None, method="GET") == Answer(200, {"ok": True})


def endpoint(subject: Subject) -> tuple[str, int]:
    if isinstance(subject, ImageContainer):
        return subject.address, PORT
    assert isinstance(subject, Container)
    return "127.0.0.1", subject.port


def strangers(subject: Subject) -> list[int]:
    """The processes that are neither ours nor the function's worker: what a function has started."""
    return sorted(set(all_processes(subject)) - set(subject.processes().values()))


def all_processes(subject: Subject) -> list[int]:
    """Every live process of a container, however it has detached itself."""
    if isinstance(subject, Container):
        return list(_marked(str(subject.root)))
    return subject.group()


def _marked(mark: str) -> Iterator[int]:
    """The processes whose environment says that they descend from the container with this mark."""
    wanted = f"{MARK}={mark}".encode()
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                environ = Path(f"/proc/{entry}/environ").read_bytes()
            except OSError:  # it has ended, or it is another user's
                continue
            if wanted in environ.split(b"\0"):
                yield int(entry)
