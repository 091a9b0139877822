"""Containers made of processes of this machine: `python -m instar.proxy.serve`, one process group each.

One rule: whatever happens to this process, nothing of a container outlives it. Each holds the read end of a
pipe, its lifeline, whose write end is here; each ends with all its processes when that pipe does. A
container gets its socket from us, already listening, so there is no race for a port, and only its own copy
is left: when the container is dead, connections are refused.

One thread attends each container: it reads both streams, so a function never waits for a reader, and it
notices the end. The runtime is told `memory_mb` and limits function and model to it, each process for itself:
an allocation beyond it fails. What several processes of a function use together nobody limits.

Every user of this machine can reach a container's port, as they can reach that of a Docker container. Linux
only: the end of a process is noticed through its pidfd.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from instar_controller.clients import exchange
from instar_controller.clients.exchange import Address
from instar_controller.clients.logbook import Logbook
from instar_controller.errors import ContainerError
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import Ending, PendingLog
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.response import Disconnected, Outcome, Replied, TimedOut

logger = logging.getLogger(__name__)

BACKLOG = 128  # connections that wait while a container boots
MARK = "INSTAR_CONTAINER"  # in the environment of every process of a container: who it belongs to
READY = "/ready"  # answered once the container is up


@dataclass(slots=True, eq=False)
class _Container:
    """One container; `lock` guards `is_up`, `is_reaped` and `is_asked_to_end`."""

    id: ContainerId
    process: subprocess.Popen[bytes]
    address: Address
    lifeline: int
    work: Path
    on_exit: Callable[[ContainerId], None]
    token: str = field(repr=False)
    book: Logbook = field(default_factory=Logbook)
    lock: threading.Lock = field(default_factory=threading.Lock)
    is_up: bool = False
    is_reaped: bool = False
    is_asked_to_end: bool = False
    has_ended: threading.Event = field(default_factory=threading.Event)  # the leader, and `on_exit` was told
    has_gone: threading.Event = field(default_factory=threading.Event)  # the leader, and all who held its streams


class ProcessContainers:
    """Containers below `root`, a directory that nobody else uses; `environment` is what they start with."""

    def __init__(
        self, root: Path, environment: Mapping[str, str], *, start_limit_s: float = 60.0, grace_s: float = 2.0
    ) -> None:
        self._root = root
        self._environment = dict(environment)
        self._start_limit_s = start_limit_s
        self._grace_s = grace_s
        self._containers: dict[ContainerId, _Container] = {}
        self._lock = threading.Lock()  # for the dictionary
        self._is_closed = False
        self._spawning = threading.Lock()  # held from a container's first trace until it is in the dictionary

    def start(
        self,
        id: ContainerId,
        *,
        kind: str,
        memory_mb: int,
        key: ContainerKey | None,
        on_exit: Callable[[ContainerId], None],
    ) -> None:
        """Start the processes and wait until they answer."""
        try:
            with self._spawning:
                if self._is_closed:
                    raise ContainerError(f"container {id} is not started: its maker is closed")
                container = self._spawn(id, memory_mb, on_exit)
        except OSError as error:
            raise ContainerError(f"the processes of container {id} cannot be started: {error}") from error
        why = self._await_answer(container)
        with container.lock:
            if why is None and not container.is_reaped:
                container.is_up = True
                return
        self.remove(id)
        raise ContainerError(f"container {id} did not come up: {why or 'it ended'}; {container.book.last_words()}")

    def post(self, id: ContainerId, path: str, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        """One exchange over TCP."""
        container = self._get(id)
        outcome = exchange.post(container.address, path, body, timeout_ms=timeout_ms, max_reply_bytes=max_reply_bytes)
        return self._settled(container, outcome)

    def transform(self, id: ContainerId, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        """One exchange over TCP, with the container's token."""
        container = self._get(id)
        outcome = exchange.transform(
            container.address, container.token, body, timeout_ms=timeout_ms, max_reply_bytes=max_reply_bytes
        )
        return self._settled(container, outcome)

    def begin_log(self, id: ContainerId, *, limit_bytes: int, mark: str | None = None) -> PendingLog:
        """See `ports.Containers`."""
        book = self._get(id).book
        book.begin(limit_bytes, mark=mark)
        return book

    def pause(self, id: ContainerId) -> None:
        """Nothing: processes that wait cost nothing."""
        self._get(id)

    def resume(self, id: ContainerId) -> None:
        """See `pause`."""
        self._get(id)

    def remove(self, id: ContainerId) -> Ending | None:
        """Ask the container to end, end it if it does not, and remove its directory."""
        with self._lock:
            container = self._containers.get(id)
        if container is None:
            with self._spawning, self._lock:
                container = self._containers.get(id)
        if container is None:
            return None
        ending = _own_ending(container)
        _signal(container, signal.SIGTERM)
        if not container.has_gone.wait(self._grace_s):
            logger.warning("container %s did not end within %s s and is killed", id, self._grace_s)
            _signal(container, signal.SIGKILL)
            if not container.has_gone.wait(self._grace_s):
                logger.error("container %s: a process of it has slipped away and still holds its streams", id)
        with self._lock:
            is_first = self._containers.pop(id, None) is not None
        if is_first:
            os.close(container.lifeline)
            shutil.rmtree(container.work, ignore_errors=True)
        return ending

    def close(self) -> None:
        """Remove every container that is left, and start no more."""
        with self._spawning, self._lock:
            self._is_closed = True
            left = list(self._containers.values())
        for container in left:
            _signal(container, signal.SIGTERM)
        for container in left:
            self.remove(container.id)

    def __repr__(self) -> str:
        return f"<ProcessContainers: {', '.join(self._containers) or 'none'}>"

    def _settled(self, container: _Container, outcome: Outcome) -> Outcome:
        if isinstance(outcome, Disconnected):
            container.has_ended.wait(self._grace_s)
        return outcome

    def _await_answer(self, container: _Container) -> str | None:
        """None if the container answers, or why it does not."""
        limit_ms = round(self._start_limit_s * 1000)
        try:
            answer = exchange.get(container.address, READY, timeout_ms=limit_ms, max_reply_bytes=1000)
        except ContainerError as error:
            return str(error)
        match answer:
            case Replied():
                return None
            case TimedOut():
                return f"no answer within {self._start_limit_s:g} s"
            case _:
                return "it ended"

    def _get(self, id: ContainerId) -> _Container:
        with self._lock:
            container = self._containers.get(id)
        if container is None or container.is_reaped:
            raise ContainerError(f"there is no container {id}")
        return container

    def _spawn(self, id: ContainerId, memory_mb: int, on_exit: Callable[[ContainerId], None]) -> _Container:
        work = self._root / id
        work.mkdir(parents=True)
        with contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=BACKLOG))
            theirs, ours = os.pipe()
            stack.callback(os.close, theirs)
            undo = stack.enter_context(contextlib.ExitStack())
            undo.callback(os.close, ours)
            undo.callback(shutil.rmtree, work, ignore_errors=True)
            token = exchange.make_token()
            process = subprocess.Popen(
                _command(listener.fileno(), theirs, work, memory_mb),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=work,
                env={**self._environment, MARK: str(work), exchange.TOKEN: token},
                pass_fds=(listener.fileno(), theirs),
                start_new_session=True,
            )
            undo.pop_all()
            container = _Container(id, process, listener.getsockname(), ours, work, on_exit, token)
        with self._lock:
            self._containers[id] = container
        threading.Thread(target=_attend, args=(container,), name=f"instar-{id}", daemon=True).start()
        return container


def _command(listener: int, lifeline: int, work: Path, memory_mb: int) -> list[str]:
    # -P: the directory it starts in is no place to import from.
    options = ["--fd", str(listener), "--lifeline", str(lifeline), "--work", str(work)]
    options += ["--memory-mib", str(memory_mb)]
    return [sys.executable, "-P", "-m", "instar.proxy.serve", *options]


def _attend(container: _Container) -> None:
    """Read what the container writes and see it end; returns when nothing of it is left."""
    process, book = container.process, container.book
    assert process.stdout is not None and process.stderr is not None
    streams: dict[int, tuple[str, IO[bytes]]] = {
        process.stdout.fileno(): ("stdout", process.stdout),
        process.stderr.fileno(): ("stderr", process.stderr),
    }
    pidfd = os.pidfd_open(process.pid)
    poll = select.poll()
    for descriptor in (*streams, pidfd):
        poll.register(descriptor, select.POLLIN)
    while streams or pidfd >= 0:
        for descriptor, _ in poll.poll():
            if descriptor == pidfd:
                poll.unregister(pidfd)
                os.close(pidfd)
                pidfd = -1
                _reap(container)
                continue
            name, stream = streams[descriptor]
            if data := os.read(descriptor, 1 << 16):
                book.feed(name, data, now_ns=time.time_ns())
            else:
                poll.unregister(descriptor)
                del streams[descriptor]
                stream.close()
                book.end(name, now_ns=time.time_ns())
    container.has_gone.set()


def _reap(container: _Container) -> None:
    with container.lock:
        # Its processes first: as long as the leader is not reaped, nobody else can get the group's number.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(container.process.pid, signal.SIGKILL)
        container.process.wait()
        container.is_reaped = True
        was_up = container.is_up
    if was_up:
        container.on_exit(container.id)
    container.has_ended.set()


def _own_ending(container: _Container) -> Ending | None:
    """How it ended before anybody asked it to."""
    with container.lock:
        if not container.is_reaped or container.is_asked_to_end:
            return None
        return Ending(container.process.returncode)


def _signal(container: _Container, number: signal.Signals) -> None:
    with container.lock:
        if not container.is_reaped:
            container.is_asked_to_end = True
            send = os.killpg if number is signal.SIGKILL else os.kill
            with contextlib.suppress(ProcessLookupError):
                send(container.process.pid, number)
