"""What the head of an HTTP answer says about the bytes behind it. Pure.

The rule: bytes are used only where the head says without doubt which bytes of which content they are.
"""

from __future__ import annotations

import email.utils
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email.message import Message

from instar.errors import MissingError, SourceError, TransientError

REDIRECTS = frozenset([301, 302, 303, 307, 308])
AGAIN = frozenset([408, 421, 425, 429])  # and whatever is 500 or more
LONGEST_RETRY_AFTER_S = 3600.0
_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\Z")
_BEYOND = re.compile(r"bytes \*/(\d{1,18})\Z")
_LENGTH = re.compile(r"\d{1,18}\Z")


@dataclass(frozen=True, slots=True)
class Version:
    """What tells one content of a URL from another; None where the server does not say."""

    etag: str | None
    modified: str | None
    nbytes: int | None

    @property
    def strong(self) -> str | None:
        """The ETag, if a range may be asked for on the condition that it is still this one (RFC 9110, 13.1.5)."""
        return self.etag if self.etag is not None and self.etag.startswith('"') else None

    def differs(self, other: Version) -> bool:
        """Whether both say of something that it is not the same. Mirrors with one ETag may have several dates."""
        if _unequal(self.nbytes, other.nbytes) or _unequal(self.etag, other.etag):
            return True
        return (self.etag is None or other.etag is None) and _unequal(self.modified, other.modified)


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes [begin, end) follow; `end` is None where they end with the answer."""

    begin: int
    end: int | None
    version: Version
    in_order: bool  # the server was asked for a range and sent everything


@dataclass(frozen=True, slots=True)
class Moved:
    """Ask there instead."""

    target: str


def interpret(
    status: int, headers: Message, *, asked: tuple[int, int] | None, now: datetime | None = None
) -> Body | Moved:
    """What to do with an answer. `asked` is the range [begin, end) of the request, None for all there is.

    Raises `SourceError` or `TransientError` with the reason alone; the caller knows where.
    """
    if status == 200:
        return _whole(headers, in_order=asked is not None)
    if status == 206 and asked is not None:
        return _part(headers, asked)
    if status in REDIRECTS:
        target = headers.get("Location")
        if not target:
            raise SourceError(f"the server answers {status} and names no other place")
        return Moved(target)
    if status >= 500 or status in AGAIN:
        raise TransientError(
            f"the server answers {status}",
            retry_after_s=_retry_after_s(headers.get("Retry-After", ""), now or datetime.now(UTC)),
        )
    if status in (401, 403):
        raise SourceError(
            f"the server answers {status}: this node may not read it; "
            "give the node credentials for that host in its netrc"
        )
    if status in (404, 410):
        raise MissingError(f"the server answers {status}; check that it exists and may be read")
    if status == 416 and asked is not None and (found := _BEYOND.match(headers.get("Content-Range", ""))):
        raise SourceError(f"it has {found[1]} bytes, fewer than the {asked[1]} that were packed; it was cut short")
    raise SourceError(f"the server answers {status}")


def _whole(headers: Message, *, in_order: bool) -> Body:
    length = _length(headers)
    return Body(0, length, _version(headers, length), in_order)


def _part(headers: Message, asked: tuple[int, int]) -> Body:
    text = headers.get("Content-Range", "")
    found = _RANGE.match(text)
    if found is None:
        raise SourceError(f"the server sends a part but not which: its Content-Range is {text[:100]!r}")
    begin, end = int(found[1]), int(found[2]) + 1
    total = None if found[3] == "*" else int(found[3])
    if begin != asked[0] or not begin < end <= asked[1] or (total is not None and end > total):
        raise SourceError(f"the server was asked for bytes {asked[0]}-{asked[1] - 1} and sends {text!r}")
    length = _length(headers)
    if length is not None and length != end - begin:
        raise SourceError(f"the server sends {text!r} in {length} bytes")
    return Body(begin, end, _version(headers, total), in_order=False)


def _length(headers: Message) -> int | None:
    """Content-Length. Raises `SourceError` for bytes that are no plain copy of the file's."""
    encoding = headers.get("Content-Encoding", "identity").strip().lower()
    if encoding not in ("", "identity"):
        raise SourceError(f"the server sends it as {encoding[:50]!r} though asked for it as it is")
    transfer = headers.get("Transfer-Encoding")
    if transfer is not None:
        if transfer.lower() != "chunked":
            raise SourceError(f"the server sends it as {transfer[:50]!r}, which is not read")
        return None  # what Content-Length says beside it does not count
    text = headers.get("Content-Length")
    if text is None:
        return None
    if not _LENGTH.match(text.strip()):
        raise SourceError(f"the server says that it has {text[:50]!r} bytes")
    return int(text)


def _unequal(mine: int | str | None, theirs: int | str | None) -> bool:
    return mine is not None and theirs is not None and mine != theirs


def _version(headers: Message, nbytes: int | None) -> Version:
    return Version(headers.get("ETag"), headers.get("Last-Modified"), nbytes)


def _retry_after_s(text: str, now: datetime) -> float | None:
    """Seconds, from a number of them or a date; None for neither."""
    if _LENGTH.match(text.strip()):
        return min(float(text), LONGEST_RETRY_AFTER_S)
    try:
        then = email.utils.parsedate_to_datetime(text)
        seconds = (then if then.tzinfo else then.replace(tzinfo=UTC)) - now
    except (TypeError, ValueError, OverflowError):
        return None
    return min(max(seconds.total_seconds(), 0.0), LONGEST_RETRY_AFTER_S)
