"""Where each tensor lies in a weights file, and the file's header. Pure: sizes in, offsets out.

The file is a standard safetensors file: eight bytes with the header's length, the header (JSON), the tensors. On
top of the format, tensors lie in execution order and each begins on a 64-byte boundary of the *file*: a tensor
mapped at an address that is not a multiple of 16 makes kernels three to six times slower, and not bit-equal. The
format allows no holes, so small `U8` tensors named `instar.pad.N` fill them.

Source of the format: the safetensors README, "Format".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from instar.errors import PackError

ALIGNMENT = 64
PAD_PREFIX = "instar.pad."
CHUNK_BYTES = 1024 * 1024  # small, so that little is left to do when a file's last byte has come
LENGTH_BYTES = 8

# torch's names (without the prefix) -> safetensors' names and bytes per element.
DTYPES: dict[str, tuple[str, int]] = {
    "float64": ("F64", 8),
    "float32": ("F32", 4),
    "float16": ("F16", 2),
    "bfloat16": ("BF16", 2),
    "int64": ("I64", 8),
    "int32": ("I32", 4),
    "int16": ("I16", 2),
    "int8": ("I8", 1),
    "uint8": ("U8", 1),
    "bool": ("BOOL", 1),
    "complex64": ("C64", 8),
}


@dataclass(frozen=True, slots=True)
class Extent:
    """What one tensor needs: its name, dtype, the shape of its bytes as they lie in memory, and their number."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    nbytes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """The header's bytes (length field and padding included), each tensor's file offset, the file's size."""

    header: bytes
    offsets: tuple[int, ...]
    size: int


def plan(extents: Sequence[Extent]) -> Layout:
    """Lay tensors out in the given order, each on a 64-byte boundary of the file.

    Raises `PackError` for a dtype that the format has no name for.
    """
    entries: dict[str, dict[str, object]] = {"__metadata__": {"format": "pt"}}
    offsets, position, pads = [], 0, 0
    for extent in extents:
        if extent.dtype not in DTYPES:
            raise PackError(
                f"tensor {extent.name!r} has dtype {extent.dtype}, which a weights file cannot hold; "
                f"convert it to one of {', '.join(DTYPES)}"
            )
        gap = -position % ALIGNMENT
        if gap:
            entries[f"{PAD_PREFIX}{pads}"] = _entry("U8", (gap,), position, gap)
            pads, position = pads + 1, position + gap
        entries[extent.name] = _entry(DTYPES[extent.dtype][0], extent.shape, position, extent.nbytes)
        offsets.append(position)
        position += extent.nbytes
    header = json.dumps(entries, separators=(",", ":")).encode()
    header += b" " * (-(LENGTH_BYTES + len(header)) % ALIGNMENT)
    start = LENGTH_BYTES + len(header)
    return Layout(
        header=len(header).to_bytes(LENGTH_BYTES, "little") + header,
        offsets=tuple(start + o for o in offsets),
        size=start + position,
    )


def chunk_count(size: int, chunk_bytes: int) -> int:
    """How many chunks a file of `size` bytes has."""
    return -(-size // chunk_bytes)


def _entry(dtype: str, shape: tuple[int, ...], begin: int, nbytes: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, begin + nbytes]}
