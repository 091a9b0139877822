"""Files of the node: the one that was opened first, unchanged, or an error."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from instar.errors import MissingError, SourceError, TransientError
from instar.weights import sources
from tests.weights.sources.conftest import read


@pytest.fixture
def file(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "file"
    path.write_bytes(data)
    os.utime(path, ns=(0, 0))
    return path


def test_a_file_that_is_cut_short_while_it_is_read_is_an_error(file: Path, data: bytes) -> None:
    reader = sources.origin(file, nbytes=len(data), environ={}).reader()
    assert read(reader, 0, 1000) == data[:1000]
    os.truncate(file, 60_000)
    with pytest.raises(SourceError, match="changed while it was read"):
        read(reader, 1000, 10)
    with pytest.raises(SourceError, match="changed while it was read"):
        read(reader, 60_000, 1000)
    reader.close()


def test_a_file_that_is_written_while_it_is_read_is_an_error(file: Path, data: bytes) -> None:
    reader = sources.origin(file, nbytes=len(data), environ={}).reader()
    reader.seek(0, 1000)
    with file.open("r+b") as opened:
        opened.write(b"new")
    with pytest.raises(SourceError, match="changed while it was read"):
        reader.read(memoryview(bytearray(1000)))
    reader.close()


def test_a_file_that_is_replaced_is_not_mixed_with_the_old_one(file: Path, data: bytes) -> None:
    origin = sources.origin(file, nbytes=len(data), environ={})
    early, late = origin.reader(), origin.reader()
    assert read(early, 0, 1000) == data[:1000]
    other = file.with_name("other")
    other.write_bytes(bytes(len(data)))
    other.replace(file)
    assert read(early, 1000, 1000) == data[1000:2000]  # it has the old one open
    with pytest.raises(SourceError, match="changed while it was read"):
        late.seek(0, 1)
    early.close()


@pytest.mark.parametrize(("more", "reason"), [(-1, "more than"), (1, "fewer than")])
def test_another_size_than_was_packed_is_an_error(file: Path, data: bytes, more: int, reason: str) -> None:
    with pytest.raises(SourceError, match=f"{len(data)} bytes, {reason} the {len(data) + more} that were packed"):
        sources.origin(file, nbytes=len(data) + more, environ={}).reader().seek(0, 1)


@pytest.mark.parametrize("what", ["folder", "pipe", "device", "socket"])
def test_what_is_no_file_is_refused_at_once(tmp_path: Path, what: str) -> None:
    path = tmp_path / "it"
    match what:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "device":
            path = Path("/dev/zero")
        case _:
            path = Path("/proc/self/ns/net")
    with pytest.raises(SourceError, match=r"no regular file|cannot read"):
        sources.origin(path, nbytes=1, environ={}).reader().seek(0, 1)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    for location in (tmp_path / "nothing", str(tmp_path / "nothing"), (tmp_path / "nothing").as_uri()):
        with pytest.raises(MissingError, match="nothing: No such file"):
            sources.origin(location, nbytes=1, environ={}).reader().seek(0, 1)


def test_a_closed_reader_has_let_go(file: Path, data: bytes) -> None:
    reader = sources.origin(file, nbytes=len(data), environ={}).reader()
    reader.seek(0, 1)
    assert opened(file) == 1
    reader.close()
    reader.close()
    assert opened(file) == 0
    with pytest.raises(TransientError, match="broken off"):
        reader.seek(0, 1)


def opened(file: Path) -> int:
    """How many descriptors of a file this process has."""
    links = []
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # closed by another thread, or the listing's own
            links.append(os.readlink(f"/proc/self/fd/{number}"))
    return links.count(str(file))
