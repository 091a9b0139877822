"""Which parts of a weights file the node has already, in other files: equal tensors are fetched once.

The rule: what is put together here is a guess, because a package may lie about a tensor's digest; whoever carries a
plan out holds each chunk against its own digest, and fetches the chunk whole if it does not match.

Pure: spans in, pieces out. Which files there are and how bytes are copied is not known here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from instar.weights.layout import ALIGNMENT
from instar.weights.manifest import Span, Weights, unpack_fields, unpack_spans

WORTH_BYTES = 16 * 1024  # less of a chunk is not worth putting it together
READ_BYTES = 256 * 1024  # a second read waits for an answer about as long as so many bytes take on a fast link


@dataclass(frozen=True, slots=True)
class Copy:
    """`nbytes` that belong at `at`, and that lie in the weights file with this digest at `offset`."""

    at: int
    nbytes: int
    file: str
    offset: int


@dataclass(frozen=True, slots=True)
class Zero:
    """Padding between two tensors."""

    at: int
    nbytes: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """What the node lacks."""

    at: int
    nbytes: int


Piece = Copy | Zero | Fetch  # `at` counts from the beginning of the file
Plan = Mapping[int, tuple[Piece, ...]]  # of each chunk that is not fetched whole
Index = dict[tuple[bytes, int], tuple[str, int]]  # a tensor's digest and size -> file and offset


def find(wanted: bytes, files: Iterable[tuple[str, bytes]]) -> Index:
    """Where tensors that are wanted lie in whole files; all of them given as `manifest.pack_spans` made them."""
    tensors = {(span.digest, span.nbytes) for span in unpack_spans(wanted)}
    index: Index = {}
    for file, packed in files:
        for offset, nbytes, digest in unpack_fields(packed):
            if (digest, nbytes) in tensors:
                index.setdefault((digest, nbytes), (file, offset))
        if len(index) == len(tensors):
            break
    return index


def plan(weights: Weights, spans: Iterable[Span], index: Index) -> Plan:
    """How to put each chunk together; those that have nothing to reuse are absent. The pieces tile their chunk."""
    chunks: dict[int, list[Piece]] = {}
    for piece in _merged(_pieces(weights, spans, index)):
        for number, part in _cut(piece, weights.chunk_bytes):
            chunks.setdefault(number, []).append(part)
    planned = ((number, _in_few_reads(pieces)) for number, pieces in chunks.items())
    return {number: pieces for number, pieces in planned if _is_worth_it(pieces)}


def _pieces(weights: Weights, spans: Iterable[Span], index: Index) -> Iterator[Piece]:
    """The file from its first byte to its last. Spans that overlap, or leave the file, are not believed."""
    position = 0
    for span in sorted(spans, key=lambda span: span.offset):
        if span.offset < position or span.offset + span.nbytes > weights.size or span.nbytes == 0:
            continue
        if gap := span.offset - position:
            yield Zero(position, gap) if position and gap < ALIGNMENT else Fetch(position, gap)
        found = index.get((span.digest, span.nbytes))
        yield Fetch(span.offset, span.nbytes) if found is None else Copy(span.offset, span.nbytes, *found)
        position = span.offset + span.nbytes
    if position < weights.size:
        yield Fetch(position, weights.size - position)


def _merged(pieces: Iterable[Piece]) -> Iterator[Piece]:
    """Neighbours that are one read or one copy become one; padding joins either, and stays only between others."""
    last: Piece | None = None
    padding: Zero | None = None
    for piece in pieces:
        if isinstance(piece, Zero) and last is not None:
            padding = piece
            continue
        gap = 0 if padding is None else padding.nbytes
        match last, piece:
            case Fetch(at, nbytes), Fetch():
                last = Fetch(at, nbytes + gap + piece.nbytes)
            case Copy(at, nbytes, file, offset), Copy(_, more, f, o) if (f, o) == (file, offset + nbytes + gap):
                last = Copy(at, nbytes + gap + more, file, offset)
            case Fetch(at, nbytes), _:
                yield Fetch(at, nbytes + gap)
                last = piece
            case Copy(), Fetch(at, nbytes):
                yield last
                last = Fetch(at - gap, nbytes + gap)
            case _:
                yield from (part for part in (last, padding) if part is not None)
                last = piece
        padding = None
    if last is not None:
        yield last


def _cut(piece: Piece, chunk_bytes: int) -> Iterator[tuple[int, Piece]]:
    at, end = piece.at, piece.at + piece.nbytes
    while at < end:
        number = at // chunk_bytes
        nbytes = min(end, (number + 1) * chunk_bytes) - at
        match piece:
            case Copy():
                yield number, Copy(at, nbytes, piece.file, piece.offset + at - piece.at)
            case Zero():
                yield number, Zero(at, nbytes)
            case Fetch():
                yield number, Fetch(at, nbytes)
        at += nbytes


def _in_few_reads(pieces: list[Piece]) -> tuple[Piece, ...]:
    """What lies between two reads that are close together is read with them."""
    found: list[Piece] = []
    for piece in pieces:
        if isinstance(piece, Fetch):
            before = next((n for n in reversed(range(len(found))) if isinstance(found[n], Fetch)), None)
            if before is not None and piece.at - (found[before].at + found[before].nbytes) < READ_BYTES:
                piece = Fetch(found[before].at, piece.at + piece.nbytes - found[before].at)
                del found[before:]
        found.append(piece)
    return tuple(found)


def _is_worth_it(pieces: tuple[Piece, ...]) -> bool:
    return sum(piece.nbytes for piece in pieces if isinstance(piece, Copy)) >= WORTH_BYTES
