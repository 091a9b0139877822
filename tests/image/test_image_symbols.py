"""Cutting the symbol table out of a library leaves everything that is loaded as it was."""

from __future__ import annotations

import ctypes
import os
import struct
from pathlib import Path

import torch
from deploy.image.inside import symbols

LIBRARY = Path(torch.__file__).parent / "lib" / "libc10.so"
LOADED = 1  # PT_LOAD


def segments(data: bytes) -> list[bytes]:
    """What the loader maps."""
    at, count = struct.unpack_from("<Q", data, 32)[0], struct.unpack_from("<H", data, 56)[0]
    headers = [struct.unpack_from("<IIQQQQQQ", data, at + 56 * number) for number in range(count)]
    return [data[offset : offset + size] for kind, _, offset, _, _, size, _, _ in headers if kind == LOADED]


def test_what_is_loaded_stays_the_same() -> None:
    whole = LIBRARY.read_bytes()
    cut = symbols.without_symbols(whole)
    assert len(cut) < len(whole)
    # The first segment holds the file's own header, which says where the section headers are.
    for before, after in zip(segments(whole), segments(cut), strict=True):
        assert before[64:] == after[64:]


def test_a_cut_library_can_be_loaded(tmp_path: Path) -> None:
    copy = tmp_path / "cut.so"
    copy.write_bytes(LIBRARY.read_bytes())
    assert symbols.drop(copy) > 0
    ctypes.CDLL(str(copy), mode=os.RTLD_NOW)  # with every symbol resolved


def test_a_second_cut_finds_nothing() -> None:
    cut = symbols.without_symbols(LIBRARY.read_bytes())
    assert symbols.without_symbols(cut) == cut


def test_other_files_are_left_alone(tmp_path: Path) -> None:
    text = tmp_path / "linker-script.so"
    text.write_text("GROUP ( libc.so.6 )")
    link = tmp_path / "link.so"
    link.symlink_to(text)
    assert (symbols.drop(text), symbols.drop(link), symbols.drop(tmp_path)) == (0, 0, 0)
    assert text.read_text() == "GROUP ( libc.so.6 )"
