"""Drop the symbol table that only debuggers read from a shared library, as `strip` does; there is no `strip` here.

The rule: nothing that is loaded into memory moves or changes. So a file is touched only if its symbol table and the
table's names lie behind everything that a segment maps; then they are cut out, and the section headers, which name
the rest of the file for tools, are written again behind what is left. Symbols for linking (`.dynsym`) stay.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

_ELF64_LITTLE = b"\x7fELF\x02\x01"
_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SEGMENT = struct.Struct("<IIQQQQQQ")
_SYMTAB, _STRTAB, _NOBITS = 2, 3, 8
_ALLOCATED = 2


@dataclass(slots=True)
class _Section:
    name: int
    kind: int
    flags: int
    address: int
    offset: int
    size: int
    link: int
    info: int
    alignment: int
    entry: int

    @property
    def end(self) -> int:
        return self.offset + (0 if self.kind == _NOBITS else self.size)

    def pack(self) -> bytes:
        return _SECTION.pack(
            *(self.name, self.kind, self.flags, self.address, self.offset, self.size),
            *(self.link, self.info, self.alignment, self.entry),
        )


def drop(path: Path) -> int:
    """Bytes saved: 0 for what is no such library, and for one that cannot be cut without moving the rest."""
    if path.is_symlink() or not path.is_file():
        return 0
    data = path.read_bytes()
    if not data.startswith(_ELF64_LITTLE):
        return 0
    smaller = without_symbols(data)
    if len(smaller) < len(data):
        path.write_bytes(smaller)
    return len(data) - len(smaller)


def without_symbols(data: bytes) -> bytes:
    """`data`, which is an ELF file of 64 bits, without its symbol table; as it is if it has none at its end."""
    header = list(_HEADER.unpack_from(data))
    segments_at, sections_at, segments, sections = header[5], header[6], header[10], header[12]
    table = [_Section(*_SECTION.unpack_from(data, sections_at + i * _SECTION.size)) for i in range(sections)]
    dropped = {i for i, section in enumerate(table) if section.kind == _SYMTAB}
    dropped |= {table[i].link for i in dropped}
    if not dropped or any(table[i].flags & _ALLOCATED for i in dropped) or header[13] in dropped:
        return data
    mapped = [_SEGMENT.unpack_from(data, segments_at + i * _SEGMENT.size) for i in range(segments)]
    loaded_end = max((segment[2] + segment[5] for segment in mapped), default=0)
    start = min(table[i].offset for i in dropped)
    if start < loaded_end or any(_refers(section, dropped) for i, section in enumerate(table) if i not in dropped):
        return data

    kept = bytearray(data[:start])
    for i, section in enumerate(table):
        if i in dropped:
            table[i] = _Section(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)  # the others keep their numbers
        elif section.kind != _NOBITS and section.offset >= start:
            content = data[section.offset : section.end]
            _pad(kept, section.alignment)
            section.offset = len(kept)
            kept += content
    _pad(kept, 8)
    header[6] = len(kept)
    kept += b"".join(section.pack() for section in table)
    _HEADER.pack_into(kept, 0, *header)
    return bytes(kept)


def _refers(section: _Section, dropped: set[int]) -> bool:
    """Whether a section needs a dropped one to be understood, as relocations for a linker do."""
    return section.kind != 0 and section.link in dropped


def _pad(data: bytearray, alignment: int) -> None:
    data += bytes(-len(data) % max(alignment, 1))
