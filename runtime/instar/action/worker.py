"""The worker: the one process in which a function's own code runs.

The rule: whatever the code does ends here. Its exceptions become answers, its exits end this process only, and
every frame to the proxy is sent by this file; what the process cannot answer, the proxy reads from its death.

It starts as a fork of the zygote, so torch is imported already. It holds no model; `instar.executor.client`
asks the executor.
"""

from __future__ import annotations

import contextlib
import inspect
import json
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from instar.action import entry
from instar.action.channel import Channel
from instar.action.entry import Function
from instar.action.environment import variables
from instar.action.frames import (
    EXITED_EARLY,
    NOT_BUILT,
    NOT_STARTED,
    Answer,
    Finished,
    Message,
    NotStarted,
    Refused,
    Run,
    Start,
    Started,
)
from instar.action.streams import Immediate, Streams, WholeLines
from instar.errors import InstarError, ProcessError, ProtocolError
from instar.executor import client

FRAME_BYTES = 1 << 40  # the proxy, which is ours, has checked the size of what it sends
NOT_AN_OBJECT = "The action did not return a dictionary or array."


def serve(connections: Sequence[socket.socket], door: socket.socket, models: Sequence[str]) -> NoReturn:
    """Be the worker at the other end of `connections` until they close; `door` hands in sessions for `models`.

    As many runs are executed at once as there are connections. The process has given up its privileges before.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    executor = client.connect(door)
    streams = Streams(Immediate if len(connections) == 1 else WholeLines)
    streams.install()
    channels = [Channel(connection, limit_bytes=FRAME_BYTES) for connection in connections]
    worker = Worker(streams, lambda: _await_models(executor, models))
    _live(streams, lambda: worker.serve(channels))


def _live(streams: Streams, body: Callable[[], None]) -> NoReturn:
    """Run `body`, in whichever thread. When it ends, the process does."""
    status = 1
    try:
        body()
    except ProcessError:
        status = 0  # the proxy has gone: nobody is left to work for
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        if isinstance(exit.code, str):
            _log(exit.code)  # as the interpreter does
    except BaseException:
        _log(_traceback())
    finally:
        streams.settle()
        # Not sys.exit: what the zygote registered to run at its own exit is not ours to run.
        os._exit(status & 0xFF)


class Worker:
    """Answers the proxy's frames. Owns the function, from the `Start` on."""

    def __init__(self, streams: Streams, await_models: Callable[[], None]) -> None:
        self._streams = streams
        self._await_models = await_models
        self._function: Function | None = None
        self._result_bytes = 0
        self._pid = os.getpid()

    def serve(self, channels: Sequence[Channel]) -> None:
        """Serve the first of `channels` in this thread and, from its first run on, the others in further ones.

        So there is one thread more than there were ever runs at once, and none where there is one channel.
        """
        channel, *others = channels
        while True:
            frame = channel.receive()
            if others and isinstance(frame, Run):
                self._serve_apart(others)
                others = []
            answer = self._answer(frame)
            if os.getpid() != self._pid:
                raise SystemExit  # a child that the function forked and let return; the answer is its parent's
            self._streams.settle()
            channel.answer(answer)

    def _serve_apart(self, channels: Sequence[Channel]) -> None:
        body = partial(_live, self._streams, partial(self.serve, channels))
        threading.Thread(target=body, name="instar-slot", daemon=True).start()

    def _answer(self, frame: Message) -> Answer:
        match frame:
            case Start():
                self._function, started = start(frame, self._await_models)
                self._result_bytes = frame.result_bytes
                return started
            case Run(body) if self._function is not None:
                return call(self._function, body, result_bytes=self._result_bytes)
        raise ProtocolError(f"the worker was sent a {type(frame).__name__} out of turn")


def start(frame: Start, await_models: Callable[[], None]) -> tuple[Function | None, Started | NotStarted]:
    """Import the user's code and find its function, while the executor loads the models."""
    os.environ.update(frame.environ)
    os.environ |= {"PWD": frame.directory, "PYTHONIOENCODING": "UTF-8"}
    try:
        function = entry.find(Path(frame.directory), Path(frame.source), frame.main)
    except entry.NotBuilt as error:
        _log(str(error))
        return None, NotStarted(NOT_BUILT)
    except Exception:
        _log(_traceback())
        _log(EXITED_EARLY)
        return None, NotStarted(NOT_STARTED)
    try:
        await_models()
    except InstarError as error:
        _log(f"{type(error).__name__}: {error}")
        return None, NotStarted(NOT_STARTED)
    return function, Started()


def call(function: Function, body: bytes, *, result_bytes: int) -> Finished | Refused:
    """Call the function with the body of a `/run` and put its result into bytes."""
    try:
        value, context = parse(body)
        os.environ.update(context)
    except (ValueError, RecursionError) as error:
        return Refused(400, f"Error unmarshaling request: {error}")
    try:
        result = function(value)
    except Exception as error:
        # An exception is the function's own answer, not a broken container: the stock launcher's rule.
        _log(_traceback() + "\n")
        result = {"error": _text_of(error)}
    if inspect.iscoroutine(result):
        result.close()
        return _complain("The action's function is async; define it with def and call asyncio.run in it.")
    if not isinstance(result, dict | list | tuple | None):
        return Refused(502, NOT_AN_OBJECT)
    try:
        data = json.dumps(result, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except (TypeError, ValueError, RecursionError) as error:
        return _complain(f"The action's result is not JSON: {error}")
    if len(data) > result_bytes:
        return _complain(f"The action's result has {len(data)} bytes; at most {result_bytes} are passed on.")
    return Finished(data)


def parse(body: bytes) -> tuple[Any, Mapping[str, str]]:
    """The argument of a `/run` and the `__OW_…` variables that come with it. Raises `ValueError`."""
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("the body is not an object")
    value = document.pop("value", {})
    return value, variables({f"__OW_{name.upper()}": item for name, item in document.items()})


def _await_models(executor: client.Connection, models: Sequence[str]) -> None:
    """A function whose models cannot be loaded cannot run, so `/init` says so. Raises what loading raised."""
    for name in models:
        executor.describe(name)


def _complain(text: str) -> Refused:
    """Refuse a result, and say so in the log, too, where the function's author may look first."""
    _log(text)
    return Refused(502, text)


def _text_of(error: Exception) -> str:
    try:
        return str(error)
    except Exception:
        return type(error).__name__


def _traceback() -> str:
    """The user's traceback, without our frames and importlib's above it; the exception alone if it has none."""
    kind, error, trace = sys.exc_info()
    users = trace
    while users is not None and _is_ours(users.tb_frame.f_code.co_filename):
        users = users.tb_next
    try:
        return "".join(traceback.format_exception(kind, error, users)).rstrip("\n")
    except Exception:  # of the error's own methods
        return kind.__name__ if kind is not None else ""


def _log(text: str) -> None:
    with contextlib.suppress(Exception):  # the stream is closed, or an object of the user's own
        print(text, file=sys.stderr)


def _is_ours(filename: str) -> bool:
    return filename in (__file__, entry.__file__) or filename.startswith("<frozen ")
