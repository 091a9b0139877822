"""Containers made of threads of this process: the twin of `process.py`, for rehearsals and tests.

It keeps every promise of the port but one: nothing is isolated. Source text is executed right here, so only
code that one trusts may be sent to it. `print` is the function's only way to its log; archives and other
kinds of code are not understood.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from instar_controller.clients.logbook import SENTINEL, STREAMS, Logbook
from instar_controller.errors import ContainerError
from instar_controller.policies.snapshot import ContainerId
from instar_controller.ports import UNTOUCHED, Ending, PendingLog
from instar_controller.whisk.invocation import ContainerKey
from instar_controller.whisk.response import Disconnected, Outcome, Replied, TimedOut


@dataclass(slots=True)
class _Container:
    """One container; `changed` guards what follows it."""

    on_exit: Callable[[ContainerId], None]
    book: Logbook = field(default_factory=Logbook)
    changed: threading.Condition = field(default_factory=threading.Condition)
    alive: bool = True
    main: Callable[[Any], Any] | None = None
    name: str | None = None  # of the function that it holds


class ThreadContainers:
    """`world` is what the functions find among their global names, for instance events that a test sets."""

    def __init__(self, world: Mapping[str, object] | None = None) -> None:
        self._world = dict(world or {})
        self._containers: dict[ContainerId, _Container] = {}
        self._is_closed = False
        self._lock = threading.Lock()

    def start(
        self,
        id: ContainerId,
        *,
        kind: str,
        memory_mb: int,
        key: ContainerKey | None,
        on_exit: Callable[[ContainerId], None],
    ) -> None:
        """Make a container: there is nothing to boot."""
        with self._lock:
            if self._is_closed:
                raise ContainerError(f"container {id} is not started: its maker is closed")
            self._containers[id] = _Container(on_exit)

    def post(self, id: ContainerId, path: str, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        """Let a thread answer; it is left to itself if the container dies or time is up."""
        container = self._living(id)
        replies: list[tuple[int, bytes]] = []

        act = {"/init": self._init, "/transform": self._transform}.get(path, self._run)

        def answer() -> None:
            reply = act(container, body)
            with container.changed:
                replies.append(reply)
                container.changed.notify_all()

        threading.Thread(target=answer, name=f"{id}{path}", daemon=True).start()
        with container.changed:
            container.changed.wait_for(lambda: replies or not container.alive, timeout_ms / 1000)
            if not container.alive:
                return Disconnected()
            if not replies:
                return TimedOut(timeout_ms)
        status, reply = replies[0]
        return Replied(status, reply[: max_reply_bytes + 1], len(reply))

    def transform(self, id: ContainerId, body: bytes, *, timeout_ms: int, max_reply_bytes: int) -> Outcome:
        """A plan is `{"from": NAME}` and fits a container that holds the function of that name; no plan fits any."""
        return self.post(id, "/transform", body, timeout_ms=timeout_ms, max_reply_bytes=max_reply_bytes)

    def begin_log(self, id: ContainerId, *, limit_bytes: int, mark: str | None = None) -> PendingLog:
        """See `ports.Containers`."""
        book = self._living(id).book
        book.begin(limit_bytes, mark=mark)
        return book

    def pause(self, id: ContainerId) -> None:
        """Nothing runs in it that could sleep."""
        self._living(id)

    def resume(self, id: ContainerId) -> None:
        """See `pause`."""
        self._living(id)

    def remove(self, id: ContainerId) -> Ending | None:
        """Forget a container; a function that still runs in it is left to itself."""
        with self._lock:
            container = self._containers.pop(id, None)
        if container is None:
            return None
        if not container.alive:
            return Ending(status=-signal.SIGKILL)
        self._end(id, container)
        return None

    def kill(self, id: ContainerId) -> None:
        """Let a container die as if by itself."""
        with self._lock:
            container = self._containers[id]
        self._end(id, container)

    def close(self) -> None:
        """Remove every container that is left, and start no more."""
        with self._lock:
            self._is_closed = True
            left = list(self._containers)
        for id in left:
            self.remove(id)

    def __repr__(self) -> str:
        return f"<ThreadContainers: {', '.join(self._containers) or 'none'}>"

    def _end(self, id: ContainerId, container: _Container) -> None:
        with container.changed:
            was_alive, container.alive = container.alive, False
            container.changed.notify_all()
        for stream in STREAMS:
            container.book.end(stream, now_ns=time.time_ns())
        if was_alive:
            container.on_exit(id)

    def _living(self, id: ContainerId) -> _Container:
        with self._lock:
            container = self._containers.get(id)
        if container is None or not container.alive:
            raise ContainerError(f"there is no container {id}")
        return container

    def _init(self, container: _Container, body: bytes) -> tuple[int, bytes]:
        value = json.loads(body)["value"]
        names = {**self._world, "print": _printer(container.book), "environment": value["env"]}
        try:
            exec(compile(value["code"], value["name"], "exec"), names)
            container.main, container.name = names[value["main"]], value["name"]
        except Exception as error:
            _write(container.book, "stderr", f"{error!r}\n")
            _end_log(container.book)
            return 502, _json({"error": "The action failed to generate or locate a binary. See logs for details."})
        return 200, b'{"ok":true}\n'

    def _transform(self, container: _Container, body: bytes) -> tuple[int, bytes]:
        asked = json.loads(body)
        plan = asked["plan"]
        if container.main is None:
            return UNTOUCHED, _json({"error": "there is no function to be transformed"})
        if plan is not None and plan != {"from": container.name}:
            return UNTOUCHED, _json({"error": f"the plan {plan} does not begin with {container.name}"})
        container.main = container.name = None
        for stream in STREAMS:
            _write(container.book, stream, f"{asked['mark']}\n")
        return self._init(container, body)

    def _run(self, container: _Container, body: bytes) -> tuple[int, bytes]:
        if container.main is None:
            return 500, _json({"error": "no action defined yet"})
        try:
            result = container.main(json.loads(body)["value"])
        except Exception as error:
            _write(container.book, "stderr", f"{error!r}\n")
            result = {"error": str(error)}
        _end_log(container.book)
        if isinstance(result, (dict, list)):
            return 200, _json(result)
        return 502, _json({"error": "The action did not return a dictionary or array."})


def _printer(book: Logbook) -> Callable[..., None]:
    def write(*values: object, sep: str = " ", end: str = "\n", file: object = None) -> None:
        _write(book, "stderr" if file is sys.stderr else "stdout", sep.join(map(str, values)) + end)

    return write


def _write(book: Logbook, stream: str, text: str) -> None:
    book.feed(stream, text.encode(), now_ns=time.time_ns())


def _end_log(book: Logbook) -> None:
    for stream in STREAMS:
        book.feed(stream, SENTINEL + b"\n", now_ns=time.time_ns())


def _json(value: object) -> bytes:
    return json.dumps(value).encode() + b"\n"
