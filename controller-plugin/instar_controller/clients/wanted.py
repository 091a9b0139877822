"""The model packages in an action's code, and the weights that they ask for: those that lie elsewhere.

One rule: an archive is its author's, so whatever it holds, looking at it costs little memory and time, and ends in an
answer. It is read where it is, in its base64: no more of it is decoded than a directory and the heads of some files.
What is not found here the container finds, and fetches for itself; what is found is only as good as its digests.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import io
import itertools
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from instar import package
from instar.errors import ArchiveError, PackageError
from instar.weights.manifest import Weights

MAX_LOOKED_AT = 256  # files of that name; a container takes 32 packages
MAX_DIRECTORY_BYTES = 4 << 20  # of an archive: with 90,000 entries it holds more than a container unpacks
MAX_HEAD_BYTES = 8 << 20  # of all `model.json`: enough for 40,000 tensors, or for fifty whole packages with 1,000
PIECE_BYTES = 1 << 20
PEEK_BYTES = 4096  # in which a `model.json` of ours says so; libraries ship files of that name, too
IGNORED = frozenset(("virtualenv", "__pycache__"))
ROOT_NAME = "model"  # of a package at the archive's root, whose folder has no name of its own


@dataclass(frozen=True, slots=True)
class Found:
    """A package in an archive: its name, as its function calls it, and its `model.json`, or the beginning of that."""

    name: str
    model_json: bytes
    is_whole: bool


@dataclass(frozen=True, slots=True)
class Wanted:
    """Weights, where they lie, and `manifest.pack_spans` of their tensors."""

    weights: Weights
    location: str
    spans: bytes

    @property
    def nbytes(self) -> int:
        """About so many bytes it takes to remember this."""
        return len(self.spans) + 128 * len(self.weights.chunks)


def look(code: str) -> Iterator[Found]:
    """The packages in a zip in base64, one by one. Raises `ArchiveError` where it is no zip or damaged."""
    try:
        with zipfile.ZipFile(io.BufferedReader(Encoded(code), 1 << 16)) as archive:
            yield from _packages(archive)
    except (
        zipfile.BadZipFile,
        zlib.error,
        binascii.Error,
        EOFError,
        NotImplementedError,  # of a later version of the format
        RuntimeError,  # an encrypted entry
        ValueError,
    ) as error:
        raise ArchiveError(f"the archive cannot be read ({str(error)[:200]}); is it a zip in base64?") from error


def of_archive(code: str) -> tuple[Wanted, ...]:
    """What the packages in a zip in base64 ask for; nothing of what is no zip or damaged. Each weights file once."""
    wanted: dict[str, Wanted] = {}
    with contextlib.suppress(ArchiveError):  # what the container says of it counts
        for found in look(code):
            asked = of_head(found.model_json)
            if asked is not None:
                wanted.setdefault(asked.weights.digest, asked)
    return tuple(wanted.values())


def of_head(head: bytes, *, otherwise: str | None = None) -> Wanted | None:
    """What one `model.json` asks for; its weights lie `otherwise` where it does not say. None if they are at hand, or
    it is damaged."""
    try:
        weights, spans = package.decode_weights(head)
    except PackageError:
        return None
    location = weights.uri or otherwise
    if location is None or "://" not in location:  # a path is the container's own
        return None
    return Wanted(weights, location, spans)


def _packages(archive: zipfile.ZipFile) -> Iterator[Found]:
    """All `model.json` that may be ours, as far as they are read."""
    left = MAX_HEAD_BYTES
    for entry in itertools.islice(filter(_may_be_ours, archive.infolist()), MAX_LOOKED_AT):
        with archive.open(entry) as file:
            head = file.read(PEEK_BYTES)
            if package.FORMAT.encode() not in head:
                continue
            while len(head) < left and (piece := file.read(min(PIECE_BYTES, left - len(head)))):
                head += piece
        left -= len(head)
        yield Found((ROOT_NAME, *entry.filename.split("/"))[-2], head, len(head) == entry.file_size)


def _may_be_ours(entry: zipfile.ZipInfo) -> bool:
    """By its name; and only deflate stops where it is told to, so that a bomb does not go off."""
    *folders, name = entry.filename.split("/")
    is_known = entry.compress_type in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    return name == package.MODEL_FILE and is_known and IGNORED.isdisjoint(folders)


class Encoded(io.RawIOBase):
    """The bytes that a text in base64 stands for, as a file: only what is read is decoded."""

    def __init__(self, text: str) -> None:
        if len(text) % 4 or not text.isascii():
            raise binascii.Error("it is no base64")
        self._text = text
        self._size = len(text) // 4 * 3 - text[-2:].count("=")
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise ValueError("there is nothing before its beginning")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        if len(buffer) > MAX_DIRECTORY_BYTES:  # nothing else is read in such pieces
            raise zipfile.BadZipFile(f"its directory has {len(buffer)} bytes")
        first = self._at // 3
        last = -(-min(self._at + len(buffer), self._size) // 3)
        data = base64.b64decode(self._text[first * 4 : last * 4], validate=True)
        data = data[self._at - first * 3 :][: len(buffer)]
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)
