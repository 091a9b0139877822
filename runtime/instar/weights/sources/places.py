"""What a location says, before anything is opened.

The rule: a package's location may name a place and nothing else. Credentials in it are refused, since a package is
handed around; so is a chain of file systems (`zip::http://…`), since some of those run programs on what they read.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

from instar.errors import SourceError

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*\Z")
_IPV6 = re.compile(r"^https?://\[[0-9A-Fa-f:.]+\]", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_KEPT = "/%:=&?~+!$,;'@()*[]"  # of a path or query, as it stands: it may be quoted already


@dataclass(frozen=True, slots=True)
class Url:
    """A URL of one file. `shown` is what a message may say of it."""

    scheme: str
    host: str
    port: int | None
    text: str  # with everything that it takes to ask for the file
    target: str  # path and query, as an HTTP server is asked
    shown: str


def parse(location: Path | str) -> Path | Url:
    """A path, also of `file://`, or a URL. Raises `SourceError` for what can never be read."""
    if isinstance(location, Path):
        return location
    if "::" in _IPV6.sub("", location):
        raise SourceError(f"{cut(location)} is a chain of URLs; name one place that has the file itself")
    scheme, separator, _ = location.partition("://")
    if not separator:
        return path(location)
    if not _SCHEME.match(scheme):
        raise SourceError(f"{cut(location)} is neither a path nor a URL")
    if scheme.lower() == "file":
        return _of_file(location)
    return url(location)


def path(location: str) -> Path:
    """Raises `SourceError` for what no file can be called."""
    if not location or "\0" in location:
        raise SourceError(f"{cut(location)!r} is no path")
    return Path(location)


def url(location: str) -> Url:
    """Raises `SourceError` for a URL with credentials, or none at all."""
    try:
        parts = urlsplit(location)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise SourceError(f"{cut(location)} is no URL: {error}") from None
    http = parts.scheme in ("http", "https")
    # Elsewhere a user's name alone may be part of the place: `abfs://container@account/…`.
    if "@" in parts.netloc and (http or parts.password is not None):
        raise SourceError(
            f"{shown(location)} had credentials in it; remove them from the URL, and give them to the node: "
            "in its netrc for http, in the environment of its other file systems"
        )
    if http and not host:
        raise SourceError(f"{shown(location)} names no host")
    if _CONTROL.search(location if http else location.replace(" ", "")):
        raise SourceError(f"{shown(location)} has a space or control character in it; quote it as %20")
    target = quote(parts.path, safe=_KEPT) or "/"
    if parts.query:
        target += "?" + quote(parts.query, safe=_KEPT)
    text = f"{parts.scheme}://{parts.netloc}{target}" if http else location
    return Url(parts.scheme, host, port, text, target, shown(location))


def shown(location: str) -> str:
    """A URL as it may stand in a message: no user, no password, no query."""
    scheme, separator, rest = location.partition("://")
    if not separator:
        return cut(location)
    rest, query, _ = rest.partition("?")
    rest = rest.partition("#")[0]
    netloc, slash, behind = rest.partition("/")
    return cut(f"{scheme}://{netloc.rpartition('@')[2]}{slash}{behind}") + ("?…" if query else "")


def cut(location: str) -> str:
    """A location of a length that fits in a message, on one line."""
    text = location if len(location) <= 300 else f"{location[:300]}…"
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _of_file(location: str) -> Path:
    try:
        parts = urlsplit(location)
    except ValueError as error:
        raise SourceError(f"{cut(location)} is no URL: {error}") from None
    if parts.netloc not in ("", "localhost"):
        raise SourceError(f"{cut(location)} is on another host; write file:///PATH for a file of this node")
    return path(unquote(parts.path))
