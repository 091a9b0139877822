"""The worker: the one process in which a function's own code runs.

The rule: whatever the code does ends here. Its exceptions become answers, its exits end this process only, and
every frame to the proxy is sent by this file; what the process cannot answer, the proxy reads from its death.

It starts as a fork of the zygote, so torch is imported already. It holds no model; `instar.executor.client`
asks the executor.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import runpy
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from instar.action import archive, requirements
from instar.action.channel import Channel
from instar.action.environment import variables
from instar.action.frames import (
    NOT_BUILT,
    NOT_STARTED,
    Answer,
    Finished,
    NotStarted,
    Refused,
    Run,
    Start,
    Started,
)
from instar.action.streams import Streams
from instar.errors import ArchiveError, ProcessError, ProtocolError
from instar.executor import client

FRAME_BYTES = 1 << 40  # the proxy, which is ours, has checked the size of what it sends
NOT_AN_OBJECT = "The action did not return a dictionary or array."

Function = Callable[[Any], Any]


def serve(connection: socket.socket, door: socket.socket, models: Sequence[str]) -> NoReturn:
    """Be the worker at the other end of `connection` until it closes; `door` hands in sessions for `models`."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    executor = client.connect(door)
    streams = Streams()
    streams.install()
    status = 1
    try:
        _serve(Channel(connection, limit_bytes=FRAME_BYTES), streams, lambda: _await_models(executor, models))
    except ProcessError:
        status = 0  # the proxy has gone: nobody is left to work for
    except SystemExit as exit:
        status = exit.code if isinstance(exit.code, int) else int(exit.code is not None)
        if isinstance(exit.code, str):
            print(exit.code, file=sys.stderr)  # as the interpreter does
    except BaseException:
        _print_traceback()
    finally:
        streams.settle()
        # Not sys.exit: what the zygote registered to run at its own exit is not ours to run.
        os._exit(status & 0xFF)


def _serve(channel: Channel, streams: Streams, await_models: Callable[[], None]) -> None:
    me = os.getpid()
    function: Function | None = None
    while True:
        frame = channel.receive()
        answer: Answer
        match frame:
            case Start():
                function, answer = start(frame, await_models)
            case Run(body) if function is not None:
                answer = call(function, body)
            case _:
                raise ProtocolError(f"the worker was sent a {type(frame).__name__} out of turn")
        if os.getpid() != me:
            raise SystemExit  # a child that the function forked and let return; the answer is its parent's
        streams.settle()
        channel.send(answer)


def start(frame: Start, await_models: Callable[[], None]) -> tuple[Function | None, Started | NotStarted]:
    """Import the user's code and find its function, while the executor loads the models."""
    os.environ.update(frame.environ)
    os.environ["PWD"] = frame.directory
    os.chdir(frame.directory)
    source = Path(frame.source)
    try:
        # Compiled here and not by the proxy: a hostile source can exhaust the compiler too.
        compile(source.read_bytes(), str(source), "exec", dont_inherit=True)
        requirements.check(Path(frame.directory))
    except (SyntaxError, ValueError, RecursionError, MemoryError, ArchiveError) as error:
        print("".join(traceback.format_exception_only(error)), end="", file=sys.stderr)
        return None, NotStarted(NOT_BUILT)
    try:
        script = archive.activation_script(Path(frame.directory))
        if script is not None:
            runpy.run_path(str(script), run_name="activate_this")
        function = _import(source, frame.main)
        await_models()
        return function, Started()
    except Exception:
        _print_traceback()
        print("Command exited abruptly during initialization.", file=sys.stderr)
        return None, NotStarted(NOT_STARTED)


def call(function: Function, body: bytes) -> Finished | Refused:
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
        _print_traceback()
        result = {"error": _text_of(error)}
    if not isinstance(result, dict | list | tuple | None):
        return Refused(502, NOT_AN_OBJECT)
    try:
        return Finished(json.dumps(result, ensure_ascii=False, allow_nan=False).encode() + b"\n")
    except (TypeError, ValueError, RecursionError) as error:
        return Refused(502, f"The action's result is not JSON: {error}")


def parse(body: bytes) -> tuple[Any, Mapping[str, str]]:
    """The argument of a `/run` and the `__OW_…` variables that come with it. Raises `ValueError`."""
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError(f"the body is a {type(document).__name__}, not an object")
    value = document.pop("value", {})
    return value, variables({f"__OW_{name.upper()}": item for name, item in document.items()})


def _await_models(executor: client.Connection, models: Sequence[str]) -> None:
    """A function whose models cannot be loaded cannot run, so `/init` says so. Raises what loading raised."""
    for name in models:
        executor.describe(name)


def _import(source: Path, main: str) -> Function:
    sys.path.insert(0, str(source.parent))
    spec = importlib.util.spec_from_loader(
        "main__", importlib.machinery.SourceFileLoader("main__", str(source)), is_package=False
    )
    assert spec is not None and spec.loader is not None  # a loader was given
    module = importlib.util.module_from_spec(spec)
    sys.modules["main__"] = module
    spec.loader.exec_module(module)
    function = getattr(module, main, None)
    if not callable(function):
        raise ImportError(f"cannot import name {main!r} from 'main__' ({source}): there is no such function")
    return function  # type: ignore[no-any-return]


def _text_of(error: Exception) -> str:
    try:
        return str(error)
    except Exception:
        return type(error).__name__


def _print_traceback() -> None:
    """The user's traceback, without the frames of this file above it."""
    kind, error, trace = sys.exc_info()
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    traceback.print_exception(kind, error, trace)
