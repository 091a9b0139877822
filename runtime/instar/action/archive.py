"""An action's code, as `/init` brings it, becomes a directory.

The rule: what comes out of an archive lies inside the directory and stays within `Limits`, counted while it
is unpacked and not taken from what the archive says of itself. A refused archive leaves nothing behind.

No code of the archive is run or compiled here; the worker does that. Like the stock runtime: a zip, a tar.gz
or one plain source file, told apart by their first bytes.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from instar.errors import ArchiveError

SOURCES = ("__main__.py", "main__.py", "exec")  # in this order; the latter two as the stock compiler leaves them
ACTIVATE = ("virtualenv/bin/activate_this.py", "virtualenv/Scripts/activate_this.py")
PIECE_BYTES = 1 << 20
MAX_DEPTH = 100  # folders in one another; Python removes them by recursion


@dataclass(frozen=True, slots=True)
class Limits:
    """How much an archive may hold; OpenWhisk itself lets 48 MB of packed code through."""

    total_bytes: int = 2 << 30  # unpacked; room for a model package beside the code
    entries: int = 50_000
    ratio: int = 200  # unpacked over packed, where it is past `ratio_from_bytes`; real files stay under 20
    ratio_from_bytes: int = 64 << 20


DEFAULT_LIMITS = Limits()


def unpack(code: bytes, directory: Path, *, limits: Limits = DEFAULT_LIMITS) -> None:
    """Write the archive or source `code` into `directory`, which must not exist.

    Raises `ArchiveError`, or `OSError` where the disk refuses; then `directory` is gone again.
    """
    directory.mkdir(parents=True)
    meter = _Meter(len(code), limits)
    try:
        if code.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            with _refusing("zip archive"):
                _unzip(code, directory, meter)
        elif code.startswith(b"\x1f\x8b"):
            with _refusing("tar.gz archive"):
                _untar(code, directory, meter)
        else:
            (directory / SOURCES[0]).write_bytes(code)
    except BaseException:
        shutil.rmtree(directory, ignore_errors=True)
        raise


def main_source(directory: Path) -> Path:
    """The file that holds the entry point. Raises `ArchiveError` if there is none."""
    for name in SOURCES:
        if (directory / name).is_file():
            return directory / name
    raise ArchiveError("Zip file does not include main__ (a file __main__.py at its root).")


def activation_script(directory: Path) -> Path | None:
    """The script that switches a bundled virtual environment on. Raises `ArchiveError` if it lacks one."""
    if not (directory / "virtualenv").is_dir():
        return None
    for name in ACTIVATE:
        if (directory / name).is_file():
            return directory / name
    raise ArchiveError("Invalid virtualenv. Zip file does not include 'activate_this.py'.")


class _Meter:
    """Counts what comes out of an archive and refuses what crosses a limit."""

    def __init__(self, packed: int, limits: Limits) -> None:
        self.limits = limits
        self.packed = packed
        self.entries = 0
        self.unpacked = 0

    def entry(self) -> None:
        self.entries += 1
        if self.entries > self.limits.entries:
            raise ArchiveError(f"it has more than {self.limits.entries} entries")

    def count(self, size: int) -> None:
        self.unpacked += size
        if self.unpacked > self.limits.total_bytes:
            raise ArchiveError(f"it unpacks to more than {self.limits.total_bytes} bytes")
        if self.unpacked > max(self.limits.ratio_from_bytes, self.packed * self.limits.ratio):
            raise ArchiveError(f"its {self.packed} bytes unpack to more than {self.limits.ratio} times as many")


class _Counted(io.RawIOBase):
    """A tar's bytes as they are decompressed: its headers can be bombs too, so all of them count."""

    def __init__(self, source: gzip.GzipFile, meter: _Meter) -> None:
        self.source = source
        self.meter = meter

    def read(self, size: int = -1) -> bytes:
        piece = self.source.read(size)
        self.meter.count(len(piece))
        return piece


def _unzip(code: bytes, directory: Path, meter: _Meter) -> None:
    links: dict[Path, str] = {}
    with zipfile.ZipFile(io.BytesIO(code)) as archive:
        for info in archive.infolist():
            meter.entry()
            path = _inside(directory, info.filename)
            mode = info.external_attr >> 16
            if info.is_dir():
                path.mkdir(parents=True, exist_ok=True)
                continue
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFLNK):
                raise ArchiveError(f"its entry {info.filename!r} is a special file")
            with archive.open(info) as source:
                if stat.S_ISLNK(mode):
                    links[path] = os.fsdecode(source.read(os.pathconf("/", "PC_PATH_MAX")))
                else:
                    _write(path, _counted(source, meter), mode)
    _link(links, directory)


def _untar(code: bytes, directory: Path, meter: _Meter) -> None:
    links: dict[Path, str] = {}
    with gzip.open(io.BytesIO(code)) as plain:
        counted = _Counted(plain, meter)
        with tarfile.open(fileobj=counted, mode="r|") as archive:
            _untar_entries(archive, directory, meter, links)
        while counted.read(PIECE_BYTES):  # to the checksum, which stands after the last entry
            pass
    _link(links, directory)


def _untar_entries(archive: tarfile.TarFile, directory: Path, meter: _Meter, links: dict[Path, str]) -> None:
    for info in archive:
        meter.entry()
        path = _inside(directory, info.name)
        if info.isdir():
            path.mkdir(parents=True, exist_ok=True)
            continue
        if info.issym():
            links[path] = info.linkname
            continue
        source = archive.extractfile(info) if info.isreg() and not info.issparse() else None
        if source is None:
            raise ArchiveError(f"its entry {info.name!r} is a hard link, sparse or a special file")
        _write(path, _pieces(source), info.mode)


def _inside(directory: Path, name: str) -> Path:
    pure = PurePosixPath(name.replace("\\", "/"))
    if not name:
        raise ArchiveError("one of its entries has no name")
    if pure.is_absolute() or ".." in pure.parts or "\0" in name or name[1:2] == ":":
        raise ArchiveError(f"its entry {name!r} points outside the action's directory")
    if len(pure.parts) > MAX_DEPTH:
        raise ArchiveError(
            f"its entry {name[:80]!r}… is {len(pure.parts)} folders deep; at most {MAX_DEPTH} are made"
        )
    return directory.joinpath(*pure.parts)


def _pieces(source: IO[bytes]) -> Iterator[bytes]:
    while piece := source.read(PIECE_BYTES):
        yield piece


def _counted(source: IO[bytes], meter: _Meter) -> Iterator[bytes]:
    for piece in _pieces(source):
        meter.count(len(piece))
        yield piece


def _write(path: Path, pieces: Iterator[bytes], mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as out:
        for piece in pieces:
            out.write(piece)
    if mode & stat.S_IXUSR:
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)


def _link(links: Mapping[Path, str], directory: Path) -> None:
    """Make the links last, so that nothing is written through one, and judge them when all are there."""
    for path, target in links.items():
        if not links.keys().isdisjoint(path.parents):  # it would be made wherever the other one points
            raise ArchiveError(f"its link {str(path.relative_to(directory))!r} lies behind another link")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    root = os.path.realpath(directory)
    for path, target in links.items():
        if os.path.commonpath([root, os.path.realpath(path)]) != root:
            name = str(path.relative_to(directory))
            raise ArchiveError(f"its link {name!r} -> {target!r} points outside the action's directory")


@contextmanager
def _refusing(what: str) -> Iterator[None]:
    """Whatever a malformed archive makes the libraries raise becomes an `ArchiveError`."""
    try:
        yield
    except ArchiveError as error:
        raise ArchiveError(f"The {what} is refused: {error}.") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise ArchiveError(f"The {what} is refused: two of its entries have one name ({error}).") from error
    except (
        zipfile.BadZipFile,
        tarfile.TarError,
        gzip.BadGzipFile,
        zlib.error,
        EOFError,
        NotImplementedError,  # a compression method that Python lacks
        RuntimeError,  # an encrypted entry
        ValueError,
    ) as error:
        raise ArchiveError(f"The {what} is damaged: {error}.") from error
