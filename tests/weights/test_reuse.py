"""Equal tensors are taken from other files: a plan covers each chunk exactly, and its pieces give the right bytes."""

from __future__ import annotations

import random
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from instar import digests
from instar.weights import reuse
from instar.weights.layout import Extent
from instar.weights.layout import plan as lay_out
from instar.weights.manifest import Span, Weights, pack_spans
from instar.weights.reuse import READ_BYTES, WORTH_BYTES, Copy, Fetch, Index, Zero

CHUNK = 64 * 1024


def tensor(number: int, nbytes: int) -> bytes:
    return random.Random(number).randbytes(nbytes)


def written(tensors: list[bytes], chunk_bytes: int = CHUNK) -> tuple[bytes, Weights, list[Span]]:
    """A weights file, as the packer writes it."""
    layout = lay_out([Extent(f"t{n}", "uint8", (len(data),), len(data)) for n, data in enumerate(tensors)])
    file = bytearray(layout.size)
    file[: len(layout.header)] = layout.header
    spans = []
    for offset, data in zip(layout.offsets, tensors, strict=True):
        file[offset : offset + len(data)] = data
        spans.append(Span(offset, len(data), digests.digest(data)))
    chunks = (digests.hexdigest(file[at : at + chunk_bytes]) for at in range(0, len(file), chunk_bytes))
    return bytes(file), Weights(len(file), chunk_bytes, tuple(chunks)), spans


def composed(chunk: tuple[reuse.Piece, ...], files: dict[str, bytes], source: bytes) -> bytes:
    found = b""
    for piece in chunk:
        match piece:
            case Copy():
                found += files[piece.file][piece.offset :][: piece.nbytes]
            case Zero():
                found += bytes(piece.nbytes)
            case Fetch():
                found += source[piece.at :][: piece.nbytes]
    return found


def assert_tiles(weights: Weights, plan: reuse.Plan) -> None:
    """The pieces of each chunk follow each other without a gap, from its first byte to its last."""
    for number, pieces in plan.items():
        at = number * weights.chunk_bytes
        for piece in pieces:
            assert piece.at == at and piece.nbytes > 0
            at += piece.nbytes
        assert at == min((number + 1) * weights.chunk_bytes, weights.size)
        assert sum(piece.nbytes for piece in pieces if isinstance(piece, Copy)) >= WORTH_BYTES
        reads = [piece for piece in pieces if isinstance(piece, Fetch)]
        for one, other in pairwise(reads):
            assert other.at - (one.at + one.nbytes) >= READ_BYTES, "reads that are close together are one"


sizes = st.lists(
    st.tuples(st.integers(0, 5), st.sampled_from([4, 100, WORTH_BYTES - 1, WORTH_BYTES, 40_000, 150_001])),
    min_size=1,
    max_size=12,
)


@settings(max_examples=60, deadline=None)
@given(sizes, sizes, st.sampled_from([4 * 4096, CHUNK, 1 << 20]))
def test_what_is_put_together_is_the_file(
    wanted: list[tuple[int, int]], kept: list[tuple[int, int]], chunk_bytes: int
) -> None:
    """For any two files that share tensors, each planned chunk has the digest that was packed."""
    source, weights, spans = written([tensor(*which) for which in wanted], chunk_bytes)
    other, _, held = written([tensor(*which) for which in kept])
    index = reuse.find(pack_spans(spans), [("other", pack_spans(held))])
    plan = reuse.plan(weights, spans, index)
    assert_tiles(weights, plan)
    for number, pieces in plan.items():
        assert digests.hexdigest(composed(pieces, {"other": other}, source)) == weights.chunks[number]
    shared = set(wanted) & set(kept)
    if chunk_bytes == 4 * 4096 and any(nbytes > 8 * 4096 for _, nbytes in shared):
        assert plan, "a tensor longer than a chunk is reused"


spans_of_liars = st.lists(
    st.builds(Span, st.integers(0, 400_000), st.integers(0, 400_000), st.sampled_from([b"a" * 32, b"b" * 32])),
    max_size=8,
)


@settings(max_examples=100, deadline=None)
@given(spans_of_liars, st.integers(1, 300_000))
def test_whatever_spans_a_package_states_the_pieces_tile_the_chunks(spans: list[Span], size: int) -> None:
    """Spans may overlap, be empty, or leave the file."""
    weights = Weights(size, CHUNK, ("",) * -(-size // CHUNK))
    index: Index = {(digest * 32, span.nbytes): ("x", 0) for span in spans for digest in (b"a",)}
    assert_tiles(weights, reuse.plan(weights, spans, index))


def test_a_file_that_shares_nothing_is_fetched_whole() -> None:
    _, weights, spans = written([tensor(1, 100_000)])
    assert reuse.plan(weights, spans, {}) == {}


def test_a_sibling_of_the_same_layout_is_one_copy_a_chunk() -> None:
    same = [tensor(n, 100_001) for n in range(4)]
    _, weights, spans = written([*same, tensor(8, 100_000)])
    _, _, held = written([*same, tensor(9, 100_000)])
    index = reuse.find(pack_spans(spans), [("sibling", pack_spans(held))])
    plan = reuse.plan(weights, spans, index)
    middle = range(1, 400_000 // CHUNK)
    assert all(len(plan[number]) == 1 and isinstance(plan[number][0], Copy) for number in middle)
    assert isinstance(plan[0][0], Fetch), "the header comes from the source"


def test_only_what_is_wanted_is_looked_for() -> None:
    kept = [("newer", pack_spans([Span(64, 8, b"d" * 32)])), ("older", pack_spans([Span(0, 8, b"d" * 32)]))]
    wanted = pack_spans([Span(128, 8, b"d" * 32), Span(192, 9, b"d" * 32), Span(256, 8, b"e" * 32)])
    assert reuse.find(wanted, kept) == {(b"d" * 32, 8): ("newer", 64)}


def test_a_few_bytes_are_not_worth_a_copy() -> None:
    _, weights, spans = written([tensor(1, 100), tensor(2, 100_000)])
    index = reuse.find(pack_spans(spans), [("other", pack_spans(spans[:1]))])
    assert index and reuse.plan(weights, spans, index) == {}
