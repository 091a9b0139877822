"""Archives, hostile ones above all: inside the directory, within the limits, or refused with nothing left."""

from __future__ import annotations

import io
import resource
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from instar.action import archive
from instar.action.archive import Limits
from instar.errors import ArchiveError
from tests.runtime.containers import zipped

MIB = 1 << 20
SMALL = Limits(total_bytes=4 * MIB, entries=20, ratio=50, ratio_from_bytes=MIB)


def tarred(*entries: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as out:
        for info, content in entries:
            info.size = len(content)
            out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def zipped_link(name: str, target: str, **files: str) -> bytes:
    buffer = io.BytesIO(zipped(files))
    with zipfile.ZipFile(buffer, "a") as out:
        info = zipfile.ZipInfo(name)
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        out.writestr(info, target)
    return buffer.getvalue()


def tarred_link(name: str, target: str, kind: bytes = tarfile.SYMTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return tarred((info, b""))


def refused(code: bytes, directory: Path, limits: Limits = SMALL) -> str:
    """The text with which `code` is refused, after a look at what is left: nothing, inside or beside."""
    with pytest.raises(ArchiveError) as error:
        archive.unpack(code, directory / "action", limits=limits)
    assert list(directory.iterdir()) == []
    return str(error.value)


def test_a_zip_and_a_tar_give_their_files(tmp_path: Path) -> None:
    content = b"def main(args): pass\n"
    for number, code in enumerate(
        (zipped({"__main__.py": content, "a/b.txt": "x"}), tarred((tarfile.TarInfo("__main__.py"), content)))
    ):
        directory = tmp_path / str(number)
        archive.unpack(code, directory)
        assert archive.main_source(directory).read_bytes() == content


def test_plain_source_becomes_the_main_module(tmp_path: Path) -> None:
    archive.unpack("☃ = 1".encode(), tmp_path / "a")
    assert archive.main_source(tmp_path / "a").read_text() == "☃ = 1"


def test_executable_files_stay_executable(tmp_path: Path) -> None:
    info = tarfile.TarInfo("tool")
    info.mode = 0o755
    archive.unpack(tarred((info, b"#!/bin/sh\n")), tmp_path / "a")
    assert (tmp_path / "a" / "tool").stat().st_mode & stat.S_IXUSR


@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "..\\evil", "C:\\evil", "a/../b"])
def test_a_name_that_points_outside_is_refused(tmp_path: Path, name: str) -> None:
    assert "outside" in refused(zipped({"ok.py": "", name: "x"}), tmp_path)
    assert "outside" in refused(tarred((tarfile.TarInfo("ok.py"), b""), (tarfile.TarInfo(name), b"x")), tmp_path)


@pytest.mark.parametrize("target", ["/etc/passwd", "../outside", "sub/../../outside", "./.."])
def test_a_link_that_points_outside_is_refused(tmp_path: Path, target: str) -> None:
    assert "outside" in refused(zipped_link("link", target), tmp_path)
    assert "outside" in refused(tarred_link("link", target), tmp_path)


def test_links_that_only_together_point_outside_are_refused(tmp_path: Path) -> None:
    first, second = tarfile.TarInfo("deep/er/up"), tarfile.TarInfo("out")
    first.type = second.type = tarfile.SYMTYPE
    first.linkname, second.linkname = "../..", "deep/er/up/.."  # the first alone is the root, which is inside
    assert "outside" in refused(tarred((first, b""), (second, b"")), tmp_path)


def test_a_link_inside_is_kept(tmp_path: Path) -> None:
    archive.unpack(zipped_link("lib/alias.py", "../real.py", **{"real.py": "x = 1"}), tmp_path / "a")
    assert (tmp_path / "a" / "lib" / "alias.py").read_text() == "x = 1"


def test_nothing_is_written_through_a_link(tmp_path: Path) -> None:
    """A link to a place outside, then a file below it: the file lands inside, the link is refused."""
    target = tmp_path / "victim"
    target.mkdir()
    (tmp_path / "unpacked").mkdir()
    link = tarfile.TarInfo("door")
    link.type, link.linkname = tarfile.SYMTYPE, str(target)
    refused(tarred((link, b""), (tarfile.TarInfo("door/file"), b"x")), tmp_path / "unpacked")
    assert list(target.iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_hard_links_and_devices_are_refused(tmp_path: Path, kind: bytes) -> None:
    assert "special file" in refused(tarred_link("x", "y", kind), tmp_path)


def bomb_zip() -> bytes:
    return zipped({"zeros": b"\0" * (3 * MIB)})


def bomb_tar() -> bytes:
    return tarred((tarfile.TarInfo("zeros"), b"\0" * (3 * MIB)))


def bomb_of_headers() -> bytes:
    """A tar whose megabytes are no file's, but a name's."""
    info = tarfile.TarInfo("x")
    info.pax_headers = {"comment": "c" * (3 * MIB)}
    return tarred((info, b""))


def many_small_bombs() -> bytes:
    return zipped({f"{n}": b"\0" * (400 * 1024) for n in range(8)})


@pytest.mark.parametrize("make", [bomb_zip, bomb_tar, bomb_of_headers, many_small_bombs])
def test_a_bomb_is_refused(tmp_path: Path, make: Callable[[], bytes]) -> None:
    code = make()
    assert len(code) < 20_000
    assert "times as many" in refused(code, tmp_path)


def test_an_archive_larger_than_the_limit_is_refused(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4096 * 5
    assert "more than 4194304 bytes" in refused(zipped({"a": content}), tmp_path, Limits(total_bytes=4 * MIB))


def test_a_size_that_the_archive_understates_does_not_help_it(tmp_path: Path) -> None:
    code = bytearray(bomb_zip())
    central = code.index(b"PK\x01\x02")
    code[central + 24 : central + 28] = (10).to_bytes(4, "little")  # uncompressed size, as the directory states it
    code[22:26] = (10).to_bytes(4, "little")
    refused(bytes(code), tmp_path)


def test_too_many_entries_are_refused(tmp_path: Path) -> None:
    assert "more than 20 entries" in refused(zipped({str(n): "" for n in range(21)}), tmp_path)
    tar = tarred(*((tarfile.TarInfo(str(n)), b"") for n in range(21)))
    assert "more than 20 entries" in refused(tar, tmp_path)


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr("a", "1")
        out.writestr("a", "2")
    assert "one name" in refused(buffer.getvalue(), tmp_path)
    assert "one name" in refused(zipped({"a": "file", "a/b": "below it"}), tmp_path)


@pytest.mark.parametrize(
    "make", [lambda: zipped({"a": "text" * 100}), lambda: tarred((tarfile.TarInfo("a"), b"text"))]
)
def test_a_truncated_or_flipped_archive_is_refused_or_right(tmp_path: Path, make: Callable[[], bytes]) -> None:
    """Whatever single byte is lost or changed: the archive unpacks or is an `ArchiveError`, nothing else."""
    whole = make()
    damaged = [whole[:n] for n in range(4, len(whole), 7)]
    damaged += [whole[:n] + bytes([whole[n] ^ 0x55]) + whole[n + 1 :] for n in range(4, len(whole), 3)]
    archive.unpack(whole, tmp_path / "whole", limits=SMALL)
    content = (tmp_path / "whole" / "a").read_bytes()
    for number, code in enumerate(damaged):
        directory = tmp_path / str(number)
        try:
            archive.unpack(code, directory, limits=SMALL)
        except ArchiveError:
            assert not directory.exists()
        else:  # a time stamp, say, or the name
            assert all(path.read_bytes() == content for path in directory.rglob("*") if path.is_file())


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    code = bytearray(zipped({"a": "text"}))
    code[6] |= 1  # the local header's flag
    code[code.index(b"PK\x01\x02") + 8] |= 1  # the directory's
    assert "password" in refused(bytes(code), tmp_path)


def test_the_main_module_may_be_named_as_the_stock_compiler_does(tmp_path: Path) -> None:
    for name in ("__main__.py", "main__.py", "exec"):
        archive.unpack(zipped({name: "x = 1"}), tmp_path / name)
        assert archive.main_source(tmp_path / name).name == name


def test_a_disk_that_refuses_leaves_nothing(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (MIB, hard))  # no file may grow beyond that, as on a full disk
    try:
        with pytest.raises(OSError, match="File too large"):
            archive.unpack(zipped({"small": "x", "large": bytes(range(256)) * 8192}), tmp_path / "action")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []
