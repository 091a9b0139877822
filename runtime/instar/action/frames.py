"""What the proxy, the zygote and the worker say to each other.

Two conversations, one rule for both: a frame is a frozen dataclass, and whatever does not decode to exactly
one is a `ProtocolError`; nothing is guessed.

* proxy and zygote, a sequenced-packet socket: `Fork` -> `Forked`, `Bury | Supersede | Renew` -> `Buried`;
  `Propose` is not answered here. File descriptors travel beside a frame. Both sides are ours.
* proxy and worker, stream sockets, for their frames may be large, one for each run that may be under way at a
  time. On the first, `Start` -> `Started | NotStarted`; then, on each, `Run` -> `Finished | Refused`, one at a
  time, so no answer can meet another run's caller. The worker holds user code; the proxy trusts none of it.

The frames between a worker and the executor are in `instar.executor.protocol`.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from instar.errors import ProtocolError

SLOTS = 16  # runs that a worker may execute at once, where its container allows more than one
CONTROL_BYTES = 128 * 1024  # of a frame between proxy and zygote, below the kernel's default for one packet
# OpenWhisk's words for a function that cannot be called; why, stands on standard error.
EXITED_EARLY = "Command exited abruptly during initialization."
NOT_BUILT = "The action failed to generate or locate a binary. See logs for details."
NOT_STARTED = "Cannot start action. Check logs for details."

HEADER = struct.Struct("<BQQ")  # kind, number of the question, length of the payload
TEXT_BYTES = 64 * 1024  # of a frame that gives a reason
TEXT_CHARACTERS = 4096  # of the reason itself; one takes twelve bytes at worst, in JSON


# proxy and zygote


@dataclass(frozen=True, slots=True)
class Fork:
    """Fork a worker. Comes with the worker's ends of its channels, one to `SLOTS`."""

    models: tuple[tuple[str, str], ...]  # (name, package directory) of what the action may call
    store: str  # directory of the node's weights files
    own: str  # directory for what that one cannot take, where it is mounted read-only
    directory: str  # the function's own, which becomes its user's


@dataclass(frozen=True, slots=True)
class Forked:
    """A worker runs. Comes with a pidfd of it."""

    pid: int


@dataclass(frozen=True, slots=True)
class Bury:
    """End the worker, if it has not, and everything it left behind."""


@dataclass(frozen=True, slots=True)
class Supersede:
    """As `Bury`, for another function that is waited for: it is answered once nothing of the old one does anything
    any more or can be read, and the kernel may still be clearing it away."""


@dataclass(frozen=True, slots=True)
class Renew:
    """As `Bury`; and another executor takes the place of the one that there is, of which nothing is left."""


@dataclass(frozen=True, slots=True)
class Propose:
    """Hand a socket on to the executor, which finds a proposal there (`instar.executor.proposals`)."""


@dataclass(frozen=True, slots=True)
class Buried:
    """Nothing of the worker is left."""

    status: int  # its exit code, or minus the signal that ended it


Control = Fork | Forked | Bury | Supersede | Renew | Propose | Buried


def encode_control(frame: Control) -> bytes:
    """Raises `ProtocolError` where the frame is longer than `CONTROL_BYTES`."""
    match frame:
        case Fork(models, store, own, directory):
            document: dict[str, Any] = {"frame": "fork", "models": models, "store": store, "own": own}
            document["directory"] = directory
        case Forked(pid):
            document = {"frame": "forked", "pid": pid}
        case Bury():
            document = {"frame": "bury"}
        case Supersede():
            document = {"frame": "supersede"}
        case Renew():
            document = {"frame": "renew"}
        case Propose():
            document = {"frame": "propose"}
        case Buried(status):
            document = {"frame": "buried", "status": status}
    data = json.dumps(document).encode()
    if len(data) > CONTROL_BYTES:
        raise ProtocolError(f"a {type(frame).__name__} frame of {len(data)} bytes; at most {CONTROL_BYTES} fit")
    return data


def decode_control(data: bytes) -> Control:
    match _json(data):
        case {
            "frame": "fork",
            "models": [*models],
            "store": str(store),
            "own": str(own),
            "directory": str(directory),
        }:
            return Fork(tuple(map(_model, models)), store, own, directory)
        case {"frame": "forked", "pid": int(pid)}:
            return Forked(pid)
        case {"frame": "bury"}:
            return Bury()
        case {"frame": "supersede"}:
            return Supersede()
        case {"frame": "renew"}:
            return Renew()
        case {"frame": "propose"}:
            return Propose()
        case {"frame": "buried", "status": int(status)}:
            return Buried(status)
    raise ProtocolError(f"no frame between proxy and zygote: {data[:80]!r}")


def _model(item: Any) -> tuple[str, str]:
    match item:
        case [str(name), str(path)]:
            return name, path
    raise ProtocolError(f"no name and directory of a model: {str(item)[:80]}")


# proxy and worker


@dataclass(frozen=True, slots=True)
class Start:
    """Import the user's code; `environ` is set before."""

    directory: str  # becomes the working directory
    source: str  # path of the main module
    main: str  # name of the function in it
    environ: Mapping[str, str]
    result_bytes: int  # the largest result that the proxy takes


@dataclass(frozen=True, slots=True)
class Started:
    """The function can be called."""


@dataclass(frozen=True, slots=True)
class NotStarted:
    """The function cannot be called."""

    error: str  # NOT_BUILT or NOT_STARTED


@dataclass(frozen=True, slots=True)
class Run:
    """Call the function with the body of `/run`, as it came."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Finished:
    """The function's result as JSON."""

    body: bytes


@dataclass(frozen=True, slots=True)
class Refused:
    """There is no result to pass on."""

    status: int  # 400: the request is at fault; 502: the function is
    error: str


Message = Start | Started | NotStarted | Run | Finished | Refused
Answer = Started | NotStarted | Finished | Refused

_KINDS: dict[type[Message], int] = {Start: 1, Started: 2, NotStarted: 3, Run: 4, Finished: 5, Refused: 6}
_BY_KIND = {kind: frame for frame, kind in _KINDS.items()}


def encode_message(frame: Message, number: int) -> tuple[bytes, bytes]:
    """The header and the payload, apart: a payload may be tens of megabytes and is not copied.

    A question has a number, 64 bits that nobody can guess, and its answer has the same.
    """
    match frame:
        case Run(body) | Finished(body):
            payload = body
        case Start():
            payload = _dump(
                {
                    "directory": frame.directory,
                    "source": frame.source,
                    "main": frame.main,
                    "environ": dict(frame.environ),
                    "result_bytes": frame.result_bytes,
                }
            )
        case NotStarted(error):
            payload = _dump({"error": error[:TEXT_CHARACTERS]})
        case Refused(status, error):
            payload = _dump({"status": status, "error": error[:TEXT_CHARACTERS]})
        case Started():
            payload = b""
    return HEADER.pack(_KINDS[type(frame)], number, len(payload)), payload


def payload_bytes(header: bytes, *, limit: int) -> int:
    """How much follows `header`. Raises `ProtocolError` for an unknown kind or more than `limit`."""
    kind, _, length = HEADER.unpack(header)
    if kind not in _BY_KIND:
        raise ProtocolError(f"no frame between proxy and worker has kind {kind}")
    if _BY_KIND[kind] in (Started, NotStarted, Refused):
        limit = min(limit, TEXT_BYTES)  # a worker's JSON, which in memory may be thirty times as large
    if length > limit:
        raise ProtocolError(f"a {_BY_KIND[kind].__name__} frame of {length} bytes; at most {limit} are taken")
    return int(length)


def number_of(header: bytes) -> int:
    """Which question a frame is, or answers."""
    _, number, _ = HEADER.unpack(header)
    return int(number)


def decode_message(header: bytes, payload: bytes) -> Message:
    kind = _BY_KIND.get(header[0])
    if kind is Run:
        return Run(payload)
    if kind is Finished:
        return Finished(payload)
    if kind is Started and not payload:
        return Started()
    document = _json(payload)
    match document:
        case {
            "directory": str(directory),
            "source": str(source),
            "main": str(main),
            "environ": dict(environ),
            "result_bytes": int(result_bytes),
        } if kind is Start:
            return Start(directory, source, main, environ, result_bytes)
        case {"status": 400 | 502 as status, "error": str(error)} if kind is Refused:
            return Refused(status, error)
        case {"error": str(error)} if kind is NotStarted:
            return NotStarted(error)
    raise ProtocolError(f"a frame of kind {header[0]} holds {payload[:80]!r}")


def _dump(document: object) -> bytes:
    # ASCII: a user's text may hold lone surrogates, which UTF-8 cannot carry.
    return json.dumps(document).encode("ascii")


def _json(data: bytes) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a frame is not JSON: {error}") from error
