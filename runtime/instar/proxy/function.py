"""The one function of this container: what state it is in, and what `/init` and `/run` do to it.

The rule: every request is answered from the state it finds, and the log sentinels are written before its answer
leaves. A run takes one of the worker's slots, of which there is one unless the container allows concurrency;
further runs wait. The states, after the stock runtime:

    state     /init                                /run
    -------   ----------------------------------   ----------------------------------------------
    Empty     200: Live. Failed: stays Empty       500 no action defined yet
    Live      403 more than once                   200, 400 or 502. The worker died in it: 400, Gone, and so
                                                   for every run under way
                                                   The worker had died before: 500 command exited, Gone
    Gone      403 more than once                   500 no action defined yet
"""

from __future__ import annotations

import dataclasses
import json
import os
import threading
import time
from dataclasses import dataclass

from instar.action import archive, packages
from instar.action.frames import (
    EXITED_EARLY,
    NOT_BUILT,
    NOT_STARTED,
    Finished,
    Fork,
    Message,
    NotStarted,
    Refused,
    Run,
    Start,
    Started,
)
from instar.errors import InstarError, ProcessError, ProtocolError
from instar.executor.meter import NOTHING, Reading
from instar.proxy import sentinels
from instar.proxy.limits import BodyLimits
from instar.proxy.places import Places
from instar.proxy.requests import BadRequest, Init, parse_init
from instar.proxy.zygote import Worker, Zygote

NO_ACTION = "no action defined yet"
ONCE = "Cannot initialize the action more than once."
EXITED = "command exited"


@dataclass(frozen=True, slots=True)
class Reply:
    """An HTTP answer; the body is JSON and ends in a newline."""

    status: int
    body: bytes
    weights: Reading = NOTHING  # what loading has cost since the run before


def failure(status: int, text: str) -> Reply:
    return Reply(
        status,
        json.dumps({"error": text}, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n",
    )


class Empty:
    """No function yet."""


class Gone:
    """The function's process died; OpenWhisk removes such a container."""


class Function:
    """Owns the state, the worker and the action's directory. Any thread may call it."""

    def __init__(self, zygote: Zygote, places: Places, *, limits: BodyLimits, slots: int = 1) -> None:
        self._zygote = zygote
        self._places = places
        self._limits = limits
        self._slots = slots  # runs at once
        self._state: Empty | Worker | Gone = Empty()
        self._turn = threading.Lock()  # whose it is may change the state and speak to the zygote
        self._told = zygote.meter.read()  # in the answers to runs
        self._telling = threading.Lock()

    def ready(self) -> Reply:
        """Answers when `/init` would not have to wait for the boot any more."""
        with self._turn:
            if isinstance(self._state, Empty):
                self._zygote.wait_until_up()
        return Reply(200, b'{"ok":true}\n')

    def init(self, body: bytes) -> Reply:
        with self._turn:
            if not isinstance(self._state, Empty):
                sentinels.complain(f"{time.strftime('%Y/%m/%d %H:%M:%S')} {ONCE}")
                return failure(403, ONCE)
            try:
                init = parse_init(body)
            except BadRequest as refusal:
                return failure(refusal.status, refusal.text)
            error = self._become(init)
            if error is None:
                return Reply(200, b'{"ok":true}\n')
            sentinels.write()
            return failure(502, error)

    def run(self, body: bytes) -> Reply:
        with self._turn:
            worker = self._state
        if not isinstance(worker, Worker):
            return failure(500, NO_ACTION)
        with worker.slots.one() as channel:
            if channel is None:  # the worker died while this waited
                return failure(500, NO_ACTION)
            if not channel.is_quiet():
                self._lose(worker)
                return failure(500, EXITED)
            try:
                reply = _reply(channel.ask(Run(body)))
            except (ProcessError, ProtocolError):
                self._lose(worker)
                reply = failure(400, EXITED)
            reply = dataclasses.replace(reply, weights=self._untold())
            sentinels.write()  # before the next run may begin
            return reply

    def _untold(self) -> Reading:
        """What no run was told of yet. Of runs at the same time, the first to end is told."""
        with self._telling:
            now = self._zygote.meter.read()
            changed, self._told = now - self._told, now
            return changed

    def _become(self, init: Init) -> str | None:
        """Unpack, fork, import. Returns what to tell the caller of a failure; why, stands on standard error."""
        directory = self._places.action
        error: str | None = NOT_BUILT
        try:
            archive.unpack(init.code, directory)
            source = archive.main_source(directory)
            archive.activation_script(directory)
            environ = {**os.environ, **init.environ}
            models = packages.find(directory) + packages.named(environ, directory, self._places.packages)
            models = packages.set_apart(models, directory, self._places.packages)
            start = Start(str(directory), str(source), init.main, init.environ, self._limits.run_bytes)
            fork = Fork(models, str(self._places.store), str(self._places.own), str(directory))
            error = self._start(fork, start)
        except (InstarError, OSError) as reason:
            sentinels.complain(f"{reason}\n")
        if error is not None:
            self._places.clear()
        return error

    def _start(self, fork: Fork, start: Start) -> str | None:
        worker = self._zygote.fork(fork, slots=self._slots, answer_bytes=self._limits.run_bytes)
        error = NOT_STARTED
        with worker.slots.one() as channel:
            assert channel is not None  # nobody else knows of them yet
            try:
                match channel.ask(start):
                    case Started():
                        self._state = worker
                        return None
                    case NotStarted(reason):
                        error = reason
                    case other:
                        raise ProtocolError(f"a worker answered its start with {type(other).__name__}")
            except (ProcessError, ProtocolError):
                sentinels.complain(EXITED_EARLY)
            self._zygote.bury(worker)
        return error

    def _lose(self, worker: Worker) -> None:
        """The first run that notices ends what is left of the worker; so all others notice, too."""
        with self._turn:
            if self._state is worker:
                self._state = Gone()
                self._zygote.bury(worker)


def _reply(answer: Message) -> Reply:
    match answer:
        case Finished(result):
            return Reply(200, result)
        case Refused(status, error):
            return failure(status, error)
    raise ProtocolError(f"a worker answered a run with {type(answer).__name__}")
