"""An action's code, as `/init` brings it.

The promise: it is unpacked within its limits, or it is refused with an `ArchiveError` and nothing is left of it;
and whatever happens, nothing outside the directory is made, changed or pointed at. The operating system may refuse
a name that is too long for it, which is an `OSError`, and leaves nothing either.

An input that is JSON is a recipe, from which an archive is made that no archiver would make: {"tar": [entry …]} or
{"zip": [entry …]}, an entry being [name, kind, text or target, mode]. Any other input is the archive itself.
"""

from __future__ import annotations

import contextlib
import errno
import gzip
import io
import json
import os
import shutil
import stat
import tarfile
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from instar.action import archive
from instar.errors import ArchiveError
from tests.fuzz import mutations, packages
from tests.fuzz.targets import Target
from tests.runtime.containers import zipped

LIMITS = archive.Limits(total_bytes=1 << 20, entries=50, ratio=50, ratio_from_bytes=1 << 16)
OF_THE_SYSTEM = (errno.ENAMETOOLONG, errno.ENOENT)  # the latter for a link to nowhere, ""
KINDS = {"file": tarfile.REGTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE, "folder": tarfile.DIRTYPE,
         "fifo": tarfile.FIFOTYPE, "sparse": tarfile.GNUTYPE_SPARSE, "device": tarfile.CHRTYPE}  # fmt: skip
WORDS = (*KINDS, "a", "a/b", "a/b/c", "../outside", "../outside/x", "..", ".", "/", "a/..", "a\\..\\b", "C:x", "./a",
         "d/" * 300 + "e", "d/" * 1500 + "e", "virtualenv/bin/activate_this.py", "zip", "tar")  # fmt: skip


def check(data: bytes) -> None:
    place = packages.folder() / "unpacking"
    outside = place / "outside"
    outside.mkdir(parents=True)
    (outside / "file").write_text("as it was")
    before = _everything(place)
    directory = place / "action"
    try:
        archive.unpack(_built(data), directory, limits=LIMITS)
    except (ArchiveError, OSError) as refusal:
        assert isinstance(refusal, ArchiveError) or refusal.errno in OF_THE_SYSTEM, refusal
        assert not os.path.lexists(directory)
    else:
        _check_inside(directory)
        for look in (archive.main_source, archive.activation_script):
            with contextlib.suppress(ArchiveError):
                look(directory)
        shutil.rmtree(directory)
    finally:
        after = _everything(place)
        shutil.rmtree(place)
    assert after == before


def _check_inside(directory: Path) -> None:
    root, total = os.path.realpath(directory), 0
    for folder, below, files in os.walk(directory):
        for name in (*below, *files):
            path = os.path.join(folder, name)
            assert os.path.commonpath([root, os.path.realpath(path)]) == root, path
            mode = os.lstat(path).st_mode
            assert stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode), path
            total += os.lstat(path).st_size if stat.S_ISREG(mode) else 0
    assert total <= LIMITS.total_bytes


def _everything(place: Path) -> dict[str, Any]:
    """Names, targets and contents of all that is not the action's."""
    found: dict[str, Any] = {}
    for path in place.rglob("*"):
        if "action" not in path.relative_to(place).parts:
            found[str(path)] = path.is_symlink() or path.is_dir() or path.read_bytes()
    return found


def _built(data: bytes) -> bytes:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError):
        return data
    match document:
        case {"tar": [*entries]}:
            return _tar(entries)
        case {"zip": [*entries]}:
            return _zip(entries)
    return data


def _tar(entries: list[Any]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as out:
        for entry in entries:
            match entry:
                case [str(name), str(kind), str(text), int(mode)] if kind in KINDS:
                    content = text.encode("utf-8", "replace")
                    info, text = tarfile.TarInfo(name.encode("utf-8", "replace").decode()), content.decode()
                    info.type, info.mode = KINDS[kind], mode % (1 << 20)
                    info.linkname = text if kind in ("link", "hard") else ""
                    info.size = len(content) if kind == "file" else 0
                    out.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def _zip(entries: list[Any]) -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as out:
        warnings.simplefilter("ignore")  # two entries of one name
        for entry in entries:
            match entry:
                case [str(name), str(kind), str(text), int(mode)] if name.isascii() and len(name) < 1 << 16:
                    info = zipfile.ZipInfo(name or "x")
                    formats = {"link": stat.S_IFLNK, "folder": stat.S_IFDIR, "fifo": stat.S_IFIFO}
                    info.external_attr = (formats.get(kind, 0) | mode % (1 << 16)) << 16
                    info.compress_type = zipfile.ZIP_DEFLATED if mode % 2 else zipfile.ZIP_STORED
                    out.writestr(info, text.encode("utf-8", "replace"))
    return buffer.getvalue()


def seeds() -> Iterable[bytes]:
    source = "def main(args):\n    return args\n"
    yield source.encode()
    yield zipped({"__main__.py": source, "lib/data.txt": "1\n", "virtualenv/bin/activate_this.py": ""})
    yield _tar([["__main__.py", "file", source, 0o644], ["lib", "folder", "", 0o755], ["l", "link", "lib", 0o777]])
    for kind in ("tar", "zip"):
        entries = [
            ["__main__.py", "file", source, 0o644], ["a", "folder", "", 0o755], ["tool", "file", "#!", 0o755],
            ["a/b", "link", "../__main__.py", 0o777], ["c", "link", "a", 0o777], ["out", "link", "a/..", 0o777],
        ]  # fmt: skip
        yield json.dumps({kind: entries}).encode()
        yield json.dumps({kind: entries[:2]}).encode()


def mutate(random: Random, data: bytes) -> bytes | None:
    if data.startswith(b"\x1f\x8b") and random.random() < 0.7:
        return _inside_gzip(random, data)
    return mutations.change(random, data, words=WORDS)


def _inside_gzip(random: Random, data: bytes) -> bytes | None:
    """Change what was compressed, for the checksum to stay right; and the header's checksum of tar with it."""
    try:
        plain = bytearray(gzip.decompress(data))
    except (OSError, EOFError, zlib.error):
        return None
    for _ in range(random.choice((1, 2, 8))):
        if plain:
            at = random.randrange(min(len(plain), 4096))
            plain[at] = random.choice((0, 0xFF, ord("/"), ord("5"), ord("2"), ord("x"), random.randrange(256)))
    for at in range(0, min(len(plain), 1 << 14) - 511, 512):
        if plain[at + 257 : at + 262] == b"ustar":
            plain[at + 148 : at + 156] = b" " * 8
            plain[at + 148 : at + 156] = b"%06o\0 " % sum(plain[at : at + 512])
    return gzip.compress(bytes(plain), compresslevel=1, mtime=0)


TARGET = Target(check, seeds, mutate)
