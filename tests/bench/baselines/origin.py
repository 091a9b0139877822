"""Where a baseline's bytes come from: the same HTTP source as ours, or a file of this machine.

The rule: every baseline reads by the same means, the standard library's HTTP client straight into the memory where
the bytes are wanted, on connections that stay open. Nothing is copied on the way, and nothing is verified.
"""

from __future__ import annotations

import http.client
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

PIECE_BYTES = 1024 * 1024  # through which a download goes to a file; larger ones leave the processor's cache


class Reader(Protocol):
    """Reads ranges, one after the other. One thread's."""

    def ask(self, offset: int, nbytes: int) -> None:
        """Begin a range. What was asked for before must have been taken."""

    def take(self, view: memoryview) -> None:
        """The next bytes of the range, as many as `view` has."""

    def close(self) -> None: ...


class Origin(Protocol):
    """A file somewhere."""

    def reader(self) -> Reader: ...


@dataclass(frozen=True, slots=True)
class Remote:
    """A file of an HTTP server that knows ranges."""

    address: tuple[str, int]
    path: str

    def reader(self) -> Reader:
        return _HttpReader(self)


@dataclass(frozen=True, slots=True)
class Local:
    """A file of this machine."""

    path: Path

    def reader(self) -> Reader:
        return _FileReader(self.path)


class _HttpReader:
    def __init__(self, remote: Remote) -> None:
        self._remote = remote
        self._connection = http.client.HTTPConnection(*remote.address)
        self._response: http.client.HTTPResponse | None = None

    def ask(self, offset: int, nbytes: int) -> None:
        if self._response is not None:
            self._response.read()  # the end of the one before, which closes it
            self._response = None
        span = {"Range": f"bytes={offset}-{offset + nbytes - 1}"}
        self._connection.request("GET", f"/{self._remote.path}", headers=span)

    def take(self, view: memoryview) -> None:
        if self._response is None:
            self._response = self._connection.getresponse()
            if self._response.status != http.client.PARTIAL_CONTENT:
                raise OSError(f"{self._remote} was answered with status {self._response.status}")
        done = 0
        while done < len(view):
            count = self._response.readinto(view[done:])
            if count == 0:
                raise OSError(f"{self._remote} ended early")
            done += count

    def close(self) -> None:
        self._connection.close()


class _FileReader:
    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        os.posix_fadvise(self._descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        self._offset = 0

    def ask(self, offset: int, nbytes: int) -> None:
        self._offset = offset

    def take(self, view: memoryview) -> None:
        done = 0
        while done < len(view):
            count = os.preadv(self._descriptor, [view[done:]], self._offset)
            if count == 0:
                raise OSError("the file ended early")
            done += count
            self._offset += count

    def close(self) -> None:
        os.close(self._descriptor)


class Downloaded:
    """A whole file on this machine: the download of a remote one, removed at the end, or the local one itself."""

    def __init__(self, origin: Remote | Local, nbytes: int, to: Path) -> None:
        self._temporary: Path | None = None
        match origin:
            case Local(path):
                self.path = path
            case Remote():
                self.path = self._temporary = to
                download(origin, nbytes, to)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._temporary is not None:
            self._temporary.unlink()


def download(origin: Origin, nbytes: int, to: Path) -> None:
    """Read a whole file and write it to `to`, on one connection."""
    buffer = memoryview(bytearray(PIECE_BYTES))
    reader = origin.reader()
    try:
        with to.open("xb", buffering=0) as file:
            os.posix_fallocate(file.fileno(), 0, nbytes)  # writing into what is reserved is several times as fast
            reader.ask(0, nbytes)
            for begin in range(0, nbytes, PIECE_BYTES):
                piece = buffer[: min(PIECE_BYTES, nbytes - begin)]
                reader.take(piece)
                file.write(piece)
    finally:
        reader.close()
