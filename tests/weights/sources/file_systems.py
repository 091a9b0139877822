"""File systems of fsspec's that are our own: one that only opens files, and one that answers late or never."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.asyn import AsyncFileSystem
from fsspec.registry import _registry, register_implementation


class Opens(fsspec.AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """Like an archive's: files can be opened and read, nothing else. `files` is shared by all instances."""

    protocol = "opens"
    cachable = False
    files: dict[str, bytes] = {}  # noqa: RUF012  # a store in memory
    seekable = True

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        path = self._strip_protocol(path)
        if path not in self.files:
            raise FileNotFoundError(path)
        return {"name": path, "size": len(self.files[path]), "type": "file", "mtime": hash(self.files[path])}

    def _open(self, path: str, mode: str = "rb", **_: Any) -> io.BytesIO:
        return _File(self.files[self._strip_protocol(path)], seekable=self.seekable)


class InOrder(Opens):
    """One whose files cannot be read but from the beginning."""

    protocol = "inorder"
    seekable = False


class _File(io.BytesIO):
    def __init__(self, data: bytes, *, seekable: bool) -> None:
        super().__init__(data)
        self._seekable = seekable

    def seekable(self) -> bool:
        return self._seekable

    def seek(self, offset: int, whence: int = 0) -> int:
        if not self._seekable:
            raise io.UnsupportedOperation("seek")
        return super().seek(offset, whence)


class Late(AsyncFileSystem):  # type: ignore[misc]  # fsspec has no types
    """An asynchronous one, as S3's is: it answers with `files`, or raises, or does not answer at all."""

    protocol = "late"
    cachable = False
    files: dict[str, bytes] = {}  # noqa: RUF012  # a store in memory
    before: Callable[[], Any] = staticmethod(lambda: None)  # called by each read: may raise, or give "never"

    async def _info(self, path: str, **_: Any) -> dict[str, Any]:
        return {"name": path, "size": len(self.files[path]), "type": "file", "ETag": str(hash(self.files[path]))}

    async def _cat_file(self, path: str, start: int | None = None, end: int | None = None, **_: Any) -> bytes:
        if type(self).before() == "never":
            await asyncio.Event().wait()
        return self.files[path][start:end]


@contextmanager
def registered(*systems: type[Any]) -> Iterator[None]:
    """fsspec knows these, for as long as the context lasts."""
    for system in systems:
        register_implementation(system.protocol, system, clobber=True)
    try:
        yield
    finally:
        for system in systems:
            _registry.pop(system.protocol)
            system.files.clear()
