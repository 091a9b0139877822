"""Weights on whatever else fsspec opens: `s3://`, `gs://`, `sftp://`, `memory://` and the like.

The rule: fsspec's many errors end here. Its file systems are configured by their own environment variables and files,
those of the node. File systems that only wrap another one are left out: what they read, and with which programs, is
said by a document that a stranger may have written.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import fsspec
from fsspec import asyn
from fsspec.registry import get_filesystem_class, known_implementations, registry

from instar.errors import MissingError, SourceError, TransientError
from instar.weights.sources.places import Url
from instar.weights.sources.ports import Limits, check_size, failed, refused
from instar.weights.sources.turns import Turns

WRAPPERS = frozenset(
    ["async_wrapper", "asynclocal", "asyncwrapper", "blockcache", "cached", "dir", "filecache", "generic",
     "libarchive", "local", "reference", "simplecache", "tar", "zip"]
)  # fmt: skip
# What file systems call that which changes with a file's content; others of their words change when it is read.
CHANGING = ("ETag", "etag", "md5", "md5Hash", "checksum", "generation", "VersionId", "version_id", "mtime",
            "LastModified", "last_modified", "modified", "updated", "created")  # fmt: skip
CHECK_EVERY_S = 1.0  # a request each time
PIECE_BYTES = 1024 * 1024

_FINAL = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError, ImportError, NotImplementedError)
_Version = tuple[Any, ...]


class RemoteOrigin:
    """A URL of fsspec's, and which content it had first."""

    def __init__(self, url: Url, *, nbytes: int | None, limits: Limits | None = None) -> None:
        """Raises `SourceError` for a scheme that nobody knows, or that only wraps another one."""
        self.location = url.shown
        self.in_order = False
        self.limits = limits or Limits()
        self._url = url.text
        self.nbytes: int | None = None
        self._wanted = nbytes
        self._lock = threading.Lock()
        self._version: _Version | None = None
        self._checked_s = -math.inf
        if url.scheme in WRAPPERS:
            raise refused(self.location, f"{url.scheme}:// is not followed; name the place that has the file itself")
        if url.scheme not in known_implementations and url.scheme not in registry:
            raise refused(self.location, f"no installed package knows {url.scheme}://")

    def reader(self) -> RemoteReader:
        return RemoteReader(self)

    def open(self) -> RemoteFile:
        """Raises whatever fsspec does."""
        scheme = self._url.partition("://")[0]
        # Those that are not asynchronous need not be safe for several threads.
        is_shared = get_filesystem_class(scheme).async_impl
        system, path = fsspec.url_to_fs(self._url, skip_instance_cache=not is_shared)
        return RemoteFile(system, path, self.limits)

    def check(self, file: RemoteFile) -> None:
        """Raises `SourceError` if this is another content than the first reader found."""
        with self._lock:
            now_s = time.monotonic()
            if self._version is not None and now_s - self._checked_s < CHECK_EVERY_S:
                return
            self._checked_s = now_s
        info = file.info()
        size = info.get("size")
        version = (size, *(str(info.get(word)) for word in CHANGING))
        with self._lock:
            if self._version is None:
                if info.get("type") == "directory":
                    raise refused(self.location, "it is a folder")
                self.nbytes = size
                if size is not None:
                    check_size(self.location, size, self._wanted)
                self._version = version
            elif self._version != version:
                raise refused(self.location, "the file was changed while it was read; start again once it is whole")

    def check_now(self, file: RemoteFile) -> None:
        """`check`, however long ago the last one was."""
        self._checked_s = -math.inf
        self.check(file)


class RemoteFile:
    """One file of one file system, by ranges; opened and read on where that system has none."""

    def __init__(self, system: Any, path: str, limits: Limits) -> None:
        self._system = system
        self._path = path
        self._limits = limits
        self._opened: Any = None
        own = type(system).cat_file is not fsspec.AbstractFileSystem.cat_file
        self._has_ranges = own or system.async_impl  # else `cat_file` opens, seeks, reads and closes

    @property
    def in_order(self) -> bool:
        return self._opened is not None and not self._opened.seekable()

    def info(self) -> dict[str, Any]:
        """What its file system says of it now."""
        self._system.invalidate_cache(self._system._parent(self._path))
        if self._system.async_impl:
            found = self._wait(self._system._info, self._path, seconds=self._limits.stall_s)
        else:
            found = self._system.info(self._path)
        return dict(found)

    def seek(self, position: int) -> None:
        """Be ready to read there, if that takes more than asking."""
        if self._has_ranges:
            return
        if self._opened is None or (self.in_order and self._opened.tell() > position):
            self.close()
            self._opened = self._system.open(self._path, "rb")
        if not self.in_order:
            self._opened.seek(position)
            return
        while (left := position - self._opened.tell()) > 0:
            if not self._opened.read(min(left, PIECE_BYTES)):
                raise TransientError(f"it ends after {self._opened.tell()} bytes")

    def read(self, position: int, into: memoryview) -> int:
        """As many bytes as came; 0 at the end of the file."""
        if not self._has_ranges:
            data = self._opened.read(len(into))
        elif self._system.async_impl:
            data = self._wait(
                self._system._cat_file,
                self._path,
                start=position,
                end=position + len(into),
                seconds=self._limits.read_s(len(into)),
            )
        else:
            data = self._system.cat_file(self._path, start=position, end=position + len(into))
        if len(data) > len(into):
            raise SourceError(f"it gave {len(data)} bytes where {len(into)} were asked for")
        into[: len(data)] = data
        return len(data)

    def close(self) -> None:
        opened, self._opened = self._opened, None
        if opened is not None:
            with suppress(Exception):
                opened.close()

    def _wait(self, work: Any, *arguments: Any, seconds: float, **more: Any) -> Any:
        """What a method of an asynchronous file system gives, in time."""
        return asyn.sync(self._system.loop, work, *arguments, timeout=seconds, **more)


class RemoteReader:
    """Reads one file. A read that is under way is not broken off: fsspec has no way to."""

    def __init__(self, origin: RemoteOrigin) -> None:
        self._origin = origin
        self._file: RemoteFile | None = None
        self._position = self._end = 0
        self._turns = Turns(break_off=lambda: None, release=self._release)

    def seek(self, begin: int, nbytes: int) -> None:
        with self._turns, self._border():
            file = self._opened()
            self._origin.check(file)
            file.seek(begin)
            self._origin.in_order = self._origin.in_order or file.in_order
            self._position, self._end = begin, begin + nbytes

    def read(self, into: memoryview) -> None:
        with self._turns, self._border():
            assert self._position + len(into) <= self._end, "only what was sought is read"
            file = self._opened()
            while into:
                got = file.read(self._position, into)
                if not got:
                    self._origin.check_now(file)
                    raise TransientError(f"it ended after {self._position} bytes")
                into = into[got:]
                self._position += got

    def whole(self, limit_bytes: int) -> bytes:
        """All there is."""
        with self._turns, self._border():
            file = self._opened()
            size = file.info().get("size")
            if size is None or size > limit_bytes:
                raise SourceError(f"it has {size or 'an unknown number of'} bytes; at most {limit_bytes} are read")
            data = bytearray(size)
            file.seek(0)
            self._position, self._end = 0, size
        self.read(memoryview(data))
        return bytes(data)

    def close(self) -> None:
        self._turns.end()

    def _opened(self) -> RemoteFile:
        if self._turns.ended:
            raise TransientError("the read was broken off")
        if self._file is None:
            self._file = self._origin.open()
        return self._file

    def _release(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    @contextmanager
    def _border(self) -> Iterator[None]:
        where = self._origin.location
        try:
            try:
                yield
            except BaseException:
                self._release()
                raise
        except TransientError as error:
            raise failed(where, str(error)) from error.__cause__
        except SourceError as error:
            text = str(error)
            raise (error if where in text else refused(where, text, type(error))) from error.__cause__
        except AssertionError:
            raise
        except ImportError as error:
            raise refused(where, f"the package that reads it is not installed: {error}") from error
        except _FINAL as error:
            kind = MissingError if isinstance(error, FileNotFoundError) else SourceError
            why = f"{type(error).__name__}: {error}; check that it exists and may be read"
            raise refused(where, why, kind) from error
        except Exception as error:  # each of fsspec's file systems has errors of its own
            raise failed(where, f"{type(error).__name__}: {error}") from error
