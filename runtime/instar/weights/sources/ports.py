"""What every source promises, whatever it speaks.

The one rule: a source gives bytes of one content. What shows that the content changed under a transfer is a final
error. That the bytes are the right ones is not known here: who fetches holds them against their digests.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from instar.errors import SourceError, TransientError


class Origin(Protocol):
    """Where one file lies, for one transfer of it; shared by the transfer's threads."""

    @property
    def location(self) -> str:
        """Where that is, as it may be shown: without credentials and without a query."""

    @property
    def in_order(self) -> bool:
        """Whether the bytes can only be had from the first to the last; known after the first `Reader.seek`.

        Then one reader at a time does best: each other one is sent everything again from the beginning.
        """

    @property
    def nbytes(self) -> int | None:
        """How many bytes there are; known after the first `Reader.seek`, None where the source does not say."""

    def reader(self) -> Reader:
        """A reader for one thread. Nothing is opened yet."""


class Reader(Protocol):
    """One thread's own way to the bytes: a connection, a descriptor.

    After a `TransientError` it may be used again, from `seek` on, and starts with a fresh connection.
    """

    def seek(self, begin: int, nbytes: int) -> None:
        """The next reads give these `nbytes` bytes from `begin` on, in order. Raises `SourceError`."""

    def read(self, into: memoryview) -> None:
        """Fill `into`, whole. Raises `SourceError`; then what is in it means nothing."""

    def whole(self, limit_bytes: int) -> bytes:
        """Everything there is. Raises `SourceError` for more than `limit_bytes`."""

    def close(self) -> None:
        """Never raises. Any thread may call it: a read that is under way ends with `TransientError`."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a source may take."""

    connect_s: float = 10.0  # to accept a connection, for each address of a host
    stall_s: float = 10.0  # without a byte; and for the whole head of an answer
    slowest_bytes_per_s: int = 16 * 1024  # of a read, beyond `stall_s`: a source that drips holds a thread for ever

    def read_s(self, nbytes: int) -> float:
        """How long a read of `nbytes` bytes may take."""
        return self.stall_s + nbytes / self.slowest_bytes_per_s


def refused(location: str, reason: str, kind: type[SourceError] = SourceError) -> SourceError:
    """The error for what no other try will mend."""
    return kind(f"cannot read weights from {location}: {reason}")


def failed(location: str, reason: str, *, retry_after_s: float | None = None) -> TransientError:
    """The error for what another try may mend."""
    return TransientError(f"cannot read weights from {location}: {reason}", retry_after_s=retry_after_s)


def check_size(location: str, found: int, nbytes: int | None) -> None:
    """Raises `SourceError` unless a file has the size that was packed; None for any size."""
    if nbytes is None or found == nbytes:
        return
    how = "fewer than" if found < nbytes else "more than"
    what = "it was cut short" if found < nbytes else "it was changed"
    raise refused(
        location, f"it has {found} bytes, {how} the {nbytes} that were packed; {what}: pack or copy it again"
    )
