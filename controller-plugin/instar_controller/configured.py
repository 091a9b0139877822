"""How values are written in OpenWhisk's configuration, and what each means: sizes, durations, switches, addresses.

One rule: a text is taken as OpenWhisk takes it, or refused with a `ValueError` that says what may be written. Nothing
here knows of which setting a text is the value.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

N = TypeVar("N", bound=float)
_SIZE = re.compile(r"([0-9]{1,25})\s*(GB|MB|KB|B|G|M|K)?", re.IGNORECASE)
_BYTES_IN = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_DURATION = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([a-z]*)", re.IGNORECASE)
_SECONDS_IN = {
    **dict.fromkeys(("ms", "milli", "millis", "millisecond", "milliseconds"), 0.001),
    **dict.fromkeys(("s", "sec", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
}
_LONGEST_S = 100 * 365 * 86400.0  # what waits for longer than that waits for ever, and clocks do not go so far
_MOST_BYTES = (1 << 63) - 1  # a Long, as OpenWhisk has it
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_LISTENING = re.compile(r"[A-Za-z0-9._:%-]+")
_NUMBER = re.compile(r"[0-9]{1,25}")
_TRUE, _FALSE = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


def text(value: str) -> str:
    """Whatever it is."""
    return value


def path(value: str) -> Path | None:
    """A file or a directory; None for nothing."""
    return Path(value).expanduser().absolute() if value else None


def size_bytes(value: str) -> int:
    """`2048m`, `256 MB`, `1 GB`, or a number of bytes."""
    found = _SIZE.fullmatch(value.strip())
    if found is None:
        raise ValueError("write a size, such as '2048m', '256 MB' or a number of bytes")
    size = int(found[1]) * _BYTES_IN[(found[2] or "").upper()[:1]]
    if size > _MOST_BYTES:
        raise ValueError(f"write a size of {_MOST_BYTES} bytes at most")
    return size


def size_mb(value: str) -> int:
    """A size in whole MB (of 1024 × 1024 bytes)."""
    size = size_bytes(value)
    if size % _BYTES_IN["M"]:
        raise ValueError(f"{size} bytes are no whole number of MB; write a size such as '2048m'")
    return size // _BYTES_IN["M"]


def some_mb(value: str) -> int:
    """The same, and more than nothing."""
    if (size := size_mb(value)) == 0:
        raise ValueError("write a size of 1 MB at least, such as '128m'")
    return size


def duration_s(value: str) -> float:
    """`10 seconds`, `10 minutes`, `100ms`, in seconds. A bare number is refused: OpenWhisk would take it for
    milliseconds, and its reader for seconds."""
    found = _DURATION.fullmatch(value.strip())
    if found is None or found[2].lower() not in _SECONDS_IN:
        raise ValueError("write a duration with its unit, such as '10 seconds', '5 m' or '100 ms'")
    duration = float(found[1]) * _SECONDS_IN[found[2].lower()]
    if duration > _LONGEST_S:
        raise ValueError(f"write a duration of {_LONGEST_S / 86400:.0f} days at most")
    return duration


def interval_s(value: str) -> float:
    """A duration between two times that something is done."""
    if (duration := duration_s(value)) == 0:
        raise ValueError("write a duration above 0, such as '10 seconds'")
    return duration


def duration_ms(value: str) -> int:
    """A duration in whole milliseconds."""
    return round(duration_s(value) * 1000)


def seconds(value: str) -> float:
    """A setting of ours: a number of seconds, or a duration with its unit."""
    try:
        number = float(value)
    except ValueError:
        return duration_s(value)
    if not 0 <= number <= _LONGEST_S:
        raise ValueError(f"write a number of seconds from 0 to {_LONGEST_S:.0f}, or a duration such as '10 seconds'")
    return number


def number(value: str) -> int:
    """A whole number from 0 on."""
    if not _NUMBER.fullmatch(value):
        raise ValueError("write a whole number from 0 on, of 25 digits at most")
    return int(value)


def listening(value: str) -> str:
    """An address of this machine. Nothing is none: a server would take it for all of them."""
    if not _LISTENING.fullmatch(value):
        raise ValueError("write an address to listen on, such as '127.0.0.1', or '0.0.0.0' for all of this machine's")
    return value


def server_port(value: str) -> int:
    """The TCP port of a server."""
    if not 0 < (found := number(value)) < 65536:
        raise ValueError("write a TCP port, from 1 to 65535")
    return found


def port(value: str) -> int:
    """A TCP port; 0 is any free one."""
    if (found := number(value)) > 65535:
        raise ValueError("write a TCP port, from 1 to 65535, or 0 for any free one")
    return found


def truth(value: str) -> bool:
    """`true` or `false`."""
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise ValueError("write 'true' or 'false'")


def words(value: str) -> tuple[str, ...]:
    """Words between commas."""
    return tuple(word.strip() for word in value.split(",") if word.strip())


def hosts(value: str) -> tuple[str, ...]:
    """`host:port,host:port`; empty for nothing."""
    found = words(value)
    if value and not found:
        raise ValueError("write HOST:PORT, several with commas between them")
    for each in found:
        host, _, number_of_port = each.rpartition(":")
        is_port = _NUMBER.fullmatch(number_of_port) is not None and 0 < int(number_of_port) < 65536
        if not is_port or _HOST.fullmatch(host) is None:
            raise ValueError(f"write HOST:PORT, several with commas between them; '{each}' is none")
    return found


def ensemble(value: str) -> str:
    """`host:port,host:port`, and perhaps a path that everything is below, `host:port/path`; empty for nothing."""
    servers, slash, path = value.partition("/")
    hosts(servers)
    if slash and (not servers or not all(path.split("/")) or {".", ".."} & set(path.split("/"))):
        raise ValueError(f"write HOST:PORT, several with commas between them, and perhaps a path; '/{path}' is none")
    return value


class Between(Generic[N]):
    """A number that `read` finds, within bounds; `what` says to people what may be written."""

    def __init__(self, read: Callable[[str], N], least: N, most: N, what: str) -> None:
        self._read = read
        self._least, self._most, self._what = least, most, what

    def __call__(self, value: str) -> N:
        found = self._read(value)
        if not self._least <= found <= self._most:
            raise ValueError(f"write {self._what}")
        return found


class OneOf:
    """One of a few words."""

    def __init__(self, *words: str) -> None:
        self._words = words

    def __call__(self, value: str) -> str:
        if value not in self._words:
            raise ValueError(f"write one of {', '.join(repr(word) for word in self._words)}")
        return value


class Matching:
    """A name of certain characters; empty for nothing."""

    def __init__(self, pattern: str, what: str) -> None:
        self._pattern = re.compile(pattern)
        self._what = what

    def __call__(self, value: str) -> str:
        if value and self._pattern.fullmatch(value) is None:
            raise ValueError(f"write {self._what}")
        return value
