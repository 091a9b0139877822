"""Archives without the weights that lie in them, for containers that find these in their node's store.

A code archive with 20 MB of weights costs each start 0.3 s: it is sent as text, decoded, unpacked and written. The
runtime looks for weights in the store first, by their digest, so where they are there the archive can do without.

One rule: nothing else of an archive changes: names, contents, modes and order of all other entries stay. An archive
of which that cannot be said (damaged, encrypted, with a name twice, large without its weights, too) is sent as it is.
"""

from __future__ import annotations

import base64
import binascii
import io
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from instar import package
from instar.errors import PackageError
from instar.weights.manifest import WEIGHTS_FILE, Weights
from instar_controller.clients import wanted

REST_BYTES = 4 << 20  # of all other entries, unpacked; with more than that leaving out the weights saves little
LEAST_BYTES = 1 << 20  # of weights that are worth it
PIECE_BYTES = 1 << 20
READ_BYTES = 1 << 18  # of the archive at a time

# What a damaged or hostile archive makes the libraries raise.
DAMAGES = (zipfile.BadZipFile, zlib.error, binascii.Error, EOFError, NotImplementedError, RuntimeError, ValueError)


@dataclass(frozen=True, slots=True)
class Inside:
    """Weights in an archive: which they are, where their tensors lie (`manifest.pack_spans`), and in which entry."""

    weights: Weights
    spans: bytes
    entry: str


@dataclass(frozen=True, slots=True)
class Lean:
    """An action's code without its weights, and those that a node must have for it to do."""

    code: str
    inside: tuple[Inside, ...]


def lean(code: str) -> Lean | None:
    """The zip in base64 without the weights of its packages; None if it has none, or is to be sent as it is."""
    try:
        with _opened(code) as archive:
            _check(archive.infolist())
            inside = tuple(_inside(archive))
            left_out = {each.entry for each in inside}
            kept = [entry for entry in archive.infolist() if entry.filename not in left_out]
            if not inside or sum(entry.file_size for entry in kept) > REST_BYTES:
                return None
            return Lean(_packed(archive, kept), inside)
    except DAMAGES:
        return None


def copy(code: str, inside: Inside, out: IO[bytes]) -> bool:
    """Write the weights file in an archive to `out`; False if it is not what its package says of its size.

    Whether it has the right bytes is for whoever takes it into a store. Raises `OSError` where `out` refuses.
    """
    try:
        with _opened(code) as archive, archive.open(inside.entry) as file:
            left = inside.weights.size
            while left > 0 and (piece := file.read(min(left, PIECE_BYTES))):
                out.write(piece)
                left -= len(piece)
            return left == 0 and not file.read(1)
    except DAMAGES:
        return False


def _opened(code: str) -> zipfile.ZipFile:
    """It is decoded where it is read: all at once would keep this process from everything else meanwhile."""
    return zipfile.ZipFile(io.BufferedReader(wanted.Encoded(code), READ_BYTES))


def _inside(archive: zipfile.ZipFile) -> Iterator[Inside]:
    entries = {entry.filename: entry for entry in archive.infolist()}
    for name, entry in entries.items():
        folder, slash, file = name.rpartition("/")
        weights_file = f"{folder}{slash}{WEIGHTS_FILE}"
        if file != package.MODEL_FILE or weights_file not in entries or entry.file_size > wanted.MAX_HEAD_BYTES:
            continue
        try:
            weights, spans = package.decode_weights(archive.read(entry))
        except PackageError:  # some library's file of that name, or for the container to refuse
            continue
        if weights.uri is None and weights.size >= LEAST_BYTES:
            yield Inside(weights, spans, weights_file)


def _packed(archive: zipfile.ZipFile, kept: Sequence[zipfile.ZipInfo]) -> str:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as out:
        for entry in kept:
            out.writestr(entry, archive.read(entry))
    return base64.b64encode(made.getvalue()).decode("ascii")


def _check(entries: Sequence[zipfile.ZipInfo]) -> None:
    """Raises one of `DAMAGES`."""
    if len({entry.filename for entry in entries}) < len(entries):
        raise zipfile.BadZipFile("two of its entries have one name")
    # Only these stop where they are told to, so that a bomb does not go off.
    if any(entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED) for entry in entries):
        raise zipfile.BadZipFile("it is packed in a way that is not looked into")
